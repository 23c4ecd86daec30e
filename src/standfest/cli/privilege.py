"""Give up root."""


def give_up_root() -> None:
    """Placeholder."""
