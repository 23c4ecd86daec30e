"""Products, prices, stock and clients, and the snapshot of them that intake reads."""
