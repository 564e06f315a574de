"""A local image API for tests and demos: the same answers, faults on demand, no cost; it imports nothing of the server.

Start with :func:`nano_banana_sandbox.server.serve_sandbox`.
"""
