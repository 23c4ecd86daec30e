"""JSON as the journal keeps it: compressed (RFC 1950), with what all entries have in common known beforehand.

An order of four lines is 2,100 bytes of JSON, and packed 420. etcd's gateway reads a value a dozen times before it
writes it (base64 within nested JSON), three members write it down, and the journal's quota is one of bytes.
"""

from __future__ import annotations

import zlib

from standfest.errors import StandfestError

UNPACKED_BYTES_MAX = 1024 * 1024
"""No object is longer."""
_LEVEL = 1
"""The quickest: higher ones gain a tenth of the size at most."""
_COMMON = (
    b'","note":"","cancelled":"bill_to":"requested_delivery":"email":"phone":"vat_id":"company":"backorder","service",'
    b'"reduced","zero","untracked","tax_category":"AE","K","G","O","E","Z","tax_rate":"7.00","0.00","unit":"kg","m","l",'
    b'"unit_decimals":3,"synthetic"standfest/'
    b'{"format":1,"readable_by":1,"order":{"order_id":"0","client_id":"0","idempotency_key":"0","request_hash":"0=",'
    b'"content_hash":"0=","status":"accepted","version":1,"path":"journal","accepted_at":"2026-12-01T00:00:00Z",'
    b'"external_reference":null,"currency":"EUR","agreed":{"customer":{"name":"0"},"ship_to":{"name":"0","street":"0",'
    b'"postal_code":"0","city":"0","country":"DE"}},"lines":[{"position":1,"product_id":0,"sku":"0","name_de":"0",'
    b'"name_en":"0","unit":"piece","unit_decimals":0,"quantity":1,"unit_price":"0.00","net":"0.00",'
    b'"tax_class":"standard","tax_category":"S","tax_rate":"19.00","stock_policy":"tracked","reserved":0,'
    b'"backordered":0,"cancelled":0,"note":null}],"totals":{"net":"0.00","tax":[{"category":"S","rate":"19.00",'
    b'"base":"0.00","amount":"0.00"}],"gross":"0.00"}}}'
)
"""Never to be changed: what was packed with another text cannot be read. What it lacks is only packed less well."""


class PackedBroken(StandfestError):
    """What was packed cannot be unpacked: it was cut, changed, or never packed here."""


def pack(document: bytes) -> bytes:
    """A JSON object in fewer bytes, with a checksum."""
    packing = zlib.compressobj(_LEVEL, zdict=_COMMON)
    return packing.compress(document) + packing.flush()


def unpack(data: bytes) -> bytes:
    """The JSON object that `pack` was given, or that lies there as it is.

    Raises:
        PackedBroken: it is neither, or longer than UNPACKED_BYTES_MAX.
    """
    if data.startswith(b"{"):
        return data
    unpacking = zlib.decompressobj(zdict=_COMMON)
    try:
        document = unpacking.decompress(data, UNPACKED_BYTES_MAX)
    except zlib.error as error:
        raise PackedBroken(f"{len(data)} bytes cannot be unpacked: {error}") from error
    if not unpacking.eof or unpacking.unused_data:
        raise PackedBroken(f"{len(data)} bytes are cut, followed by others, or over {UNPACKED_BYTES_MAX} unpacked")
    return document
