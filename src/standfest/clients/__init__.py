"""Clients of the parts that run beside the product: a leaf that both planes may use."""
