"""Noticing the end of a task: when the API is queried, who waits for the answer, and which callbacks are trusted."""
