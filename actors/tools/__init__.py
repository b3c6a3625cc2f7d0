"""What agents act with: tools, which are Python functions and the tools of MCP servers, and the box they come in."""
