"""Shrinks images in a process of their own."""
