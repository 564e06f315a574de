"""The durable record of generations: what was requested, what it cost and how it ended."""
