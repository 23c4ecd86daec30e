"""What is wrong with a request, field by field."""

import msgspec

from standfest.errors import StandfestError


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong in a request."""

    pointer: str
    """JSON Pointer (RFC 6901) to the field."""
    code: str
    """Stable, for programs."""
    detail: str
    """For people."""


class Invalid(StandfestError):
    """The request is understood and cannot be carried out; nothing was stored."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.faults = faults
