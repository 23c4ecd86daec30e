"""A wholesaler's real orders replayed: read, planned purely, sent, and accounted for row by row."""
