"""The MCP face of the server: tools, resources, and the words for the model."""
