"""Work-arounds of the MCP SDK (2.3): each file names the behaviour that it corrects."""
