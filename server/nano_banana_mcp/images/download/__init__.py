"""Downloads images from untrusted hosts on the public internet."""
