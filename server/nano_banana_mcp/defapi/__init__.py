"""The client of the image API: submits, queries, retries and errors; no MCP."""
