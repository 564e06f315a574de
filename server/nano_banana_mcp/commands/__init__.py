"""The commands of ``nano-banana-mcp``: each module has ``add_arguments(parser)`` and ``run(settings, arguments)``."""
