"""The MCP prompts: what a person fills in becomes a brief for the assistant."""
