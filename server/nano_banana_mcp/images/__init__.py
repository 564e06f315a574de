"""Image files as bytes, without the domain: checked, measured, downloaded, resized, saved."""
