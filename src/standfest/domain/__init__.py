"""Pure rules of the trade: orders, lines, money, tax, quantities, stock decisions, lifecycle, identity.

Nothing here does I/O or knows a framework; msgspec is used for its values only."""
