"""Resource updates: which stream or session of which caller is notified when a generation changes."""
