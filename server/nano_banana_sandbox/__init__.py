"""A stand-in for the image API: the same answers, the same failings on request, and nothing is paid.

Importing this package loads nothing; `sandbox.server` is the door.
"""
