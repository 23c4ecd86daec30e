"""The topology rendered: every configuration file of one node, as paths and contents."""

from collections.abc import Mapping
from pathlib import Path

from standfest.cluster.commands import rewind_program
from standfest.cluster.inventory import Kind, services_of
from standfest.redundancy.etcd import journal_member, patroni_member, render_etcd
from standfest.redundancy.haproxy import render_door
from standfest.redundancy.order_plane import render_order_plane
from standfest.redundancy.postgres import render_patroni, render_rewind
from standfest.redundancy.site import Site
from standfest.redundancy.supervisord import render_supervisord


def render_node(site: Site) -> Mapping[Path, str]:
    """All configuration files of the node. Some hold passwords: every one is for its owner alone."""
    config = site.home.config
    files = {
        config / "supervisord.conf": render_supervisord(site),
        config / "etcd.json": render_etcd(site, patroni_member(site)),
        config / "journal.json": render_etcd(site, journal_member(site)),
        config / "patroni.json": render_patroni(site),
        rewind_program(site.home): render_rewind(site),
    }
    for service in services_of(site.topology, site.node):
        if service.kind in (Kind.API, Kind.WORKER, Kind.AUDIT):
            files[config / f"{service.name}.toml"] = render_order_plane(site, service)
    door = site.topology.door_on(site.node.name)
    if door is not None:
        files[config / "door.cfg"] = render_door(site, door)
    return files
