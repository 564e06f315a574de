"""Serve MCP over streamable HTTP: the ASGI application, its middleware, authentication, webhook and metrics."""
