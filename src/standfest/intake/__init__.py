"""Accepting orders: the way from a priced, validated order to a durable answer."""
