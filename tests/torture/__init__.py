"""``python -m tests.torture``: tries to break a real server, and counts what is lost, paid twice or crashed."""
