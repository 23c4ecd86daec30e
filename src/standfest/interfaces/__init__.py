"""How the outside reaches the order plane."""
