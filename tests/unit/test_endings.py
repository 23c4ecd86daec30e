"""Certificates that end soon, as data: what is said from when on."""

import datetime
from dataclasses import replace

from standfest.cluster.observation import Observation, SeenCertificate
from standfest.redundancy.diagnosis import diagnose
from standfest.redundancy.verdict import decide
from tests.unit.test_verdict import seen

END = datetime.datetime(2031, 5, 4, tzinfo=datetime.UTC)


def ending_in(*days: float) -> Observation:
    """All is well, and the certificates of as many nodes have so many days left."""
    certificates = tuple(
        SeenCertificate(f"/secrets/n{number}.pem", f"node n{number}", END, datetime.timedelta(days=left))
        for number, left in enumerate(days, start=1)
    )
    return replace(seen(), certificates=certificates)


def test_far_ends_are_not_spoken_of() -> None:
    """What ends in more than 30 days is neither a reason nor a warning."""
    observation = ending_in(31, 800)
    assert (decide(observation).reasons, decide(observation).warnings) == ((), ())
    assert diagnose(observation) == ()


def test_the_last_month_is_warned_of() -> None:
    """Within 30 days a person is told which one ends, when, and the command; all is well nevertheless."""
    observation = ending_in(800, 29.5)
    verdict = decide(observation)
    assert verdict.warnings == (
        "the certificate of node n2 ends on 2031-05-04, in 29 days; renew it with ./standfest up",
    )
    assert (verdict.reasons, verdict.exit_code) == ((), 0)
    (finding,) = diagnose(observation)
    assert finding.warning
    assert "/secrets/n2.pem" in finding.evidence
    assert finding.next_command == "./standfest up"


def test_the_last_week_is_not_well() -> None:
    """Within 7 days, and after the end, the cluster is not well; the first to end is named first."""
    observation = ending_in(6.5, -1)
    verdict = decide(observation)
    assert [reason.split(";")[0] for reason in verdict.reasons] == [
        "the certificate of node n2 ended on 2031-05-04",
        "the certificate of node n1 ends on 2031-05-04, in 6 days",
    ]
    assert (verdict.up, verdict.exit_code) == (True, 1)
    assert [finding.warning for finding in diagnose(observation)] == [False, False]
