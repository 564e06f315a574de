"""The use cases of the server: generate an image, get a task, wait for it."""
