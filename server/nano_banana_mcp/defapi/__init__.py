"""Client of the remote image API. Independent of MCP."""
