"""Helpers without domain knowledge that every other package may use."""
