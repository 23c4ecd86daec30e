"""Texts that the catalogue's bodies are made of."""

from typing import Annotated

from msgspec import Meta

_INNER = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]"
_EDGE = r"[^\x00-\x20\x7f-\xa0\ud800-\udfff]"

PRINTABLE_EDGES = rf"^{_EDGE}({_INNER}*{_EDGE})?$(?!\n)"
"""No control characters, and no space at either end."""
PRINTABLE = rf"^{_INNER}+$(?!\n)"
"""No control characters."""

SkuText = Annotated[str, Meta(min_length=1, max_length=64, pattern=PRINTABLE_EDGES)]
NameText = Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTABLE_EDGES)]
UnitText = Annotated[str, Meta(min_length=1, max_length=20, pattern=PRINTABLE_EDGES)]
