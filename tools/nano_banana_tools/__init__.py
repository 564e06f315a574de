"""The MCP side: tools, resources, prompts and subscriptions on top of the generation service."""
