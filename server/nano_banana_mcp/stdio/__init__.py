"""Instant start over stdio: a manifest answers discovery, then the real server takes over in the same process."""
