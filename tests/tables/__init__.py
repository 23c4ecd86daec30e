"""Tables of what is to be reached, each measured on the real parts by one command: scripts/acceptance."""
