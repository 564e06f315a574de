"""Reads reference images from allowed folders of this machine."""
