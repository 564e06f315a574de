"""Mutation testing of what must not be wrong: see :mod:`tests.mutation.__main__`."""
