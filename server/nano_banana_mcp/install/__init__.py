"""The entry of this server in the configuration of a host application."""
