"""The real Claude Code as a client, without an account: its model is a script on this machine."""
