"""Authenticate callers by static tokens or OAuth access tokens, and refuse binds that would let anyone in."""
