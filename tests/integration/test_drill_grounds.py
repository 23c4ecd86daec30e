"""Where the drills' own cluster goes: addresses that nobody else has."""

import socket

import pytest

from standfest.cli.grounds import DOOR_PORTS, NoAddressesLeft, free_network

NETWORKS = ("127.0.23", "127.0.24")


def test_two_drills_get_addresses_of_their_own() -> None:
    """A block is one drill's as long as it lasts, before anything listens there; then it is free again."""
    with free_network(NETWORKS) as first, free_network(NETWORKS) as second:
        assert (first, second) == NETWORKS
        with pytest.raises(NoAddressesLeft, match=r"127\.0\.23, 127\.0\.24"), free_network(NETWORKS):
            pass
    with free_network(NETWORKS) as again:
        assert again == first


def test_what_listens_already_is_left_alone() -> None:
    """A block where something else listens at a door's address is not taken."""
    with socket.create_server((f"{NETWORKS[0]}.10", DOOR_PORTS[1])), free_network(NETWORKS) as taken:
        assert taken == NETWORKS[1]
