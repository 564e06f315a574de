"""``python -m tests.lab.torture``: tries to break a real server, and counts what is lost, paid twice or crashed."""
