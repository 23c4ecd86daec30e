"""What else is done with orders: find, cancel, confirm what was backordered; the feed of changes."""
