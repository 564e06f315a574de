"""An MCP server that makes pictures with the Nano Banana 2 API (defapi)."""

__version__ = "0.2.0"
