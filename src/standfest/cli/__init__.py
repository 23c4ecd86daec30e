"""The command line of both planes."""
