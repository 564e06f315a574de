"""One entry in the configuration file of a host: where it is, what it looks like, and how it gets in and out."""
