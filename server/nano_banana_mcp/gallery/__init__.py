"""A local web page with all images, for the person who uses this machine."""
