"""Saves images in a folder for people: file names, metadata, an index."""
