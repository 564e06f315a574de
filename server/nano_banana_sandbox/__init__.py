"""A stand-in for the image API: the same answers, failures on request, no cost. It imports nothing of the server.

Start with :func:`nano_banana_sandbox.server.serve_sandbox`.
"""
