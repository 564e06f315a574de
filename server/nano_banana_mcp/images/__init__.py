"""Pictures as bytes: fetched safely, recognised, measured. Knows HTTP, knows no MCP and no other room."""
