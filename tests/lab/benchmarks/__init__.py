"""``make bench``: figures from one run, each against what it is compared to."""
