"""Certificates that end soon: from when on a person is told, and from when on the cluster counts as not well."""

import datetime
from collections.abc import Iterator

from standfest.cluster.observation import Observation, SeenCertificate
from standfest.cluster.secrets import RENEWED_BEFORE

UNWELL_BEFORE = datetime.timedelta(days=7)
"""What ends within this time is a fault: nobody has run `up` for three weeks in which it was warned of."""


def ending(seen: Observation) -> Iterator[tuple[SeenCertificate, bool]]:
    """Each certificate that `up` would renew, the next to end first, and whether that is urgent."""
    for certificate in sorted(seen.certificates, key=lambda each: each.left):
        if certificate.left < RENEWED_BEFORE:
            yield certificate, certificate.left < UNWELL_BEFORE


def ending_words(certificate: SeenCertificate) -> str:
    """What is said of one that ends soon."""
    day = f"{certificate.ends_at:%Y-%m-%d}"
    if certificate.left < datetime.timedelta(0):
        return f"the certificate of {certificate.of} ended on {day}"
    return f"the certificate of {certificate.of} ends on {day}, in {certificate.left.days} days"
