"""Instant start over stdio: discovery is answered from a manifest, then the real server takes over in the same process."""
