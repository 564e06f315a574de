"""What the command line does besides serving. Each is imported only when it is asked for."""
