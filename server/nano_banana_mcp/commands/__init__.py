"""The commands of ``nano-banana-mcp``: each module has ``add_arguments(commands)`` and ``run(settings, arguments)``."""
