"""The use cases of the server: generate an image, look at a task, wait for it."""
