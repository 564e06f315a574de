"""The remote image API. Knows HTTP, knows no MCP."""
