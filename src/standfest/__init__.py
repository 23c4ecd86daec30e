"""Standfest: an order system whose point is that it does not go down."""
