"""MCP Tasks (SEP-2663): a host runs a call in the background and fetches its result, instead of waiting for it."""
