"""The prompts of the menu (MCP prompts): loaded only when somebody asks for them."""
