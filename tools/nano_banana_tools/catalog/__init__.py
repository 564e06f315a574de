"""The tools: one file each, with its description, arguments and handler."""
