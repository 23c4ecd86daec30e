"""The cluster's certificates in their files: what is made anew when."""

import datetime
from pathlib import Path

import pytest

from standfest.cluster.authority import ends_at, issue, new_authority
from standfest.cluster.home import write_private
from standfest.cluster.secrets import AuthorityEndedError, Secrets, generate, signing_authority
from standfest.cluster.topology import LOCAL


@pytest.fixture
def kept(tmp_path: Path) -> Secrets:
    """The credentials of a cluster that was started once."""
    secrets = Secrets(tmp_path)
    generate(secrets, LOCAL, idle=True)
    return secrets


def contents(kept: Secrets) -> dict[str, bytes]:
    """Every file."""
    return {file.name: file.read_bytes() for file in kept.directory.iterdir()}


def replace_authority(kept: Secrets, life: datetime.timedelta) -> None:
    """The cluster's authority is one that has so much of its life left, and so have all certificates."""
    made = new_authority(LOCAL.name, life)
    write_private(kept.authority_key, made.key)
    write_private(kept.authority, made.certificate)


@pytest.mark.parametrize("idle", [True, False])
def test_what_is_good_stays(kept: Secrets, idle: bool) -> None:
    """Nothing is made twice, whether the cluster runs or not."""
    before = contents(kept)
    generate(kept, LOCAL, idle=idle)
    assert contents(kept) == before


def test_what_ends_soon_is_left_to_up_while_the_cluster_runs(kept: Secrets) -> None:
    """A certificate that ends soon is replaced at once where nothing runs; else only one that has ended."""
    signer = signing_authority(kept)
    assert signer is not None
    for days, idle, renewed in ((20, False, False), (20, True, True), (-1, False, True)):
        issued = issue(signer, "client", (), datetime.timedelta(days=days))
        write_private(kept.key("client"), issued.key)
        write_private(kept.certificate("client"), issued.certificate)
        generate(kept, LOCAL, idle=idle)
        assert (kept.certificate("client").read_bytes() != issued.certificate) is renewed


def test_an_authority_that_ends_soon_is_replaced_where_nothing_runs(kept: Secrets) -> None:
    """With nothing that trusts the old one, a new authority and all certificates by it are made at once."""
    replace_authority(kept, datetime.timedelta(days=20))
    generate(kept, LOCAL, idle=True)
    signer = signing_authority(kept)
    assert signer is not None
    assert kept.authority.read_bytes() == signer.certificate
    assert ends_at(signer.certificate) > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3000)


def test_an_authority_is_not_replaced_under_what_trusts_it(kept: Secrets) -> None:
    """An authority that has ended, or lost its key, while the cluster runs is kept, and the way back is said."""
    replace_authority(kept, datetime.timedelta(days=-1))
    before = contents(kept)
    with pytest.raises(AuthorityEndedError, match=r"\./standfest down"):
        generate(kept, LOCAL)
    assert contents(kept) == before
    kept.authority_key.unlink()
    with pytest.raises(AuthorityEndedError):
        generate(kept, LOCAL)
