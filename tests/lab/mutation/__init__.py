"""Mutation testing of what must not be wrong: see :mod:`tests.lab.mutation.__main__`."""
