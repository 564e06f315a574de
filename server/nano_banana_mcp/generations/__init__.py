"""The domain: what was asked for, what became of it, and when to ask again. Knows no MCP and no HTTP."""
