"""Other people's clients against this server: `make interop`."""
