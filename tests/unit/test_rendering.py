"""Rendering: what each part is told. Whether the parts themselves agree is asked in the acceptance tests."""

import configparser
import json
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from standfest.bootstrap import Configuration
from standfest.cluster.binaries import Binaries
from standfest.cluster.home import Home
from standfest.cluster.secrets import PASSWORDS, Secrets
from standfest.cluster.supervision import STOP_WAIT_S_MAX
from standfest.cluster.topology import LOCAL, Journal, Topology
from standfest.redundancy.postgres import dynamic_settings, shared_buffers_mib
from standfest.redundancy.render import render_node
from standfest.redundancy.site import Site

HOME = Home(Path("/home/operator/.standfest"))
BINARIES = Binaries(Path("/v/python"), Path("/usr/bin/etcd"), Path("/usr/sbin/haproxy"), Path("/pg/bin"), 18)


def rendered(node_name: str, topology: Topology = LOCAL) -> dict[str, str]:
    """The node's files by name."""
    node = topology.node(node_name)
    passwords = {name: f"password-{name}" for name in PASSWORDS}
    site = Site(topology, node, HOME.node(node_name), Secrets(HOME.secrets), passwords, BINARIES)
    return {path.name: content for path, content in render_node(site).items()}


def patroni(node_name: str = "n1", topology: Topology = LOCAL) -> Any:
    """The node's Patroni configuration."""
    return json.loads(rendered(node_name, topology)["patroni.json"])


def supervisord(node_name: str, topology: Topology = LOCAL) -> configparser.RawConfigParser:
    """The node's supervisord configuration."""
    parser = configparser.RawConfigParser()
    parser.read_string(rendered(node_name, topology)["supervisord.conf"])
    return parser


def test_each_node_gets_the_files_of_its_services() -> None:
    """A door's configuration is rendered only where the topology puts a door."""
    etcds, serving = {"etcd.json", "journal.json"}, {"api.toml", "worker.toml", "audit.toml"}
    common = {"supervisord.conf", "patroni.json", "pg_rewind"} | etcds | serving
    assert [set(rendered(node.name)) for node in LOCAL.nodes] == [common | {"door.cfg"}, common | {"door.cfg"}, common]


def test_rendering_the_same_gives_the_same() -> None:
    """Rendering has no memory and no clock: the same topology gives the same files."""
    assert rendered("n2") == rendered("n2")


def test_no_program_takes_longer_to_stop_than_who_waits_for_its_supervisor_knows() -> None:
    """A supervisor that was told to end is given the longest time of one program for each of them."""
    configuration = supervisord("n1")
    programs = [name for name in configuration.sections() if name.startswith("program:")]
    assert max(configuration.getint(name, "stopwaitsecs") for name in programs) == STOP_WAIT_S_MAX


def test_commits_wait_for_a_named_standby() -> None:
    """Patroni is told to replicate synchronously by quorum, strictly, and to fail over at once after a crash."""
    settings = dynamic_settings(LOCAL)
    assert settings["synchronous_mode"] == "quorum"
    assert settings["synchronous_mode_strict"] is True
    assert settings["primary_start_timeout"] == 0
    assert settings["failsafe_mode"] is True


def test_a_clone_spares_the_primary() -> None:
    """A standby is cloned from another one where there is one, and at no higher rate than the topology says."""
    assert patroni()["tags"] == {"clonefrom": True}
    slow = msgspec.structs.replace(LOCAL, postgres=msgspec.structs.replace(LOCAL.postgres, clone_mib_per_s=3))
    assert {"max-rate": "3M"} in patroni(topology=slow)["postgresql"]["basebackup"]


def test_members_of_etcd_start_with_their_data() -> None:
    """Both members' start knows the mark and the directory without which they are not started."""
    home = HOME.node("n2")
    for name, data in (("etcd", home.etcd), ("journal", home.journal)):
        command = supervisord("n2")[f"program:{name}"]["command"]
        assert f"{home.logs / name}.log {home.founded(name)} {data} {BINARIES.etcd} --config-file" in command


def test_no_watchdog_resets_the_machine() -> None:
    """Patroni is kept off the machine's watchdog: killing one member must not restart all that runs beside it."""
    assert patroni()["watchdog"] == {"mode": "off"}


def test_nobody_is_idle_in_a_transaction_for_long() -> None:
    """Every role's sessions, operators' too, are ended: what they hold, the feed of changes waits for."""
    parameters = msgspec.convert(dynamic_settings(LOCAL), dict[str, Any])["postgresql"]["parameters"]
    assert parameters["idle_in_transaction_session_timeout"] == "60s"


def test_patroni_accepts_its_own_timing() -> None:
    """loop_wait + 2 · retry_timeout does not exceed ttl, which Patroni demands."""
    settings = msgspec.convert(dynamic_settings(LOCAL), dict[str, Any])
    assert settings["loop_wait"] + 2 * settings["retry_timeout"] <= settings["ttl"]


@pytest.mark.parametrize(("memory_gib", "mib"), [(0.5, 64), (24, 1024), (4096, 8192)])
def test_servers_take_their_part_of_the_machines_memory(memory_gib: float, mib: int) -> None:
    """Three servers on one machine share an eighth of its memory within bounds; who sets a size has it."""
    assert shared_buffers_mib(LOCAL, int(memory_gib * 2**30)) == mib
    sized = msgspec.structs.replace(LOCAL, postgres=msgspec.structs.replace(LOCAL.postgres, shared_buffers_mib=96))
    assert patroni(topology=sized)["postgresql"]["parameters"]["shared_buffers"] == "96MB"


def test_what_an_acknowledgement_rests_on_is_on() -> None:
    """fsync, full_page_writes and synchronous_commit are on; a crash is a failover and never a restart in place."""
    settings = msgspec.convert(dynamic_settings(LOCAL), dict[str, Any])
    parameters = settings["postgresql"]["parameters"]
    wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "restart_after_crash": "off"}
    assert wanted.items() <= parameters.items()


def test_nobody_logs_in_without_a_password() -> None:
    """Every rule for logging in to PostgreSQL asks for SCRAM, from the cluster's own addresses alone."""
    rules = [rule.split() for rule in patroni()["postgresql"]["pg_hba"]]
    assert {rule[-1] for rule in rules} == {"scram-sha-256"}
    assert {rule[0] for rule in rules} == {"host"}
    assert {rule[3] for rule in rules} == {"127.0.0.0/8"}


def test_hosts_are_let_in_one_by_one() -> None:
    """On real addresses only the nodes themselves may reach PostgreSQL."""
    nodes = tuple(msgspec.structs.replace(node, address=f"10.0.0.{n}") for n, node in enumerate(LOCAL.nodes, 1))
    files = rendered("n1", msgspec.structs.replace(LOCAL, nodes=nodes))
    sources = {rule.split()[3] for rule in json.loads(files["patroni.json"])["postgresql"]["pg_hba"]}
    assert sources == {"10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"}


def test_old_postgres_gets_no_option_that_it_does_not_know() -> None:
    """The builtin locale provider came with PostgreSQL 17."""
    node = LOCAL.nodes[0]
    old = msgspec.structs.replace(LOCAL)
    binaries = Binaries(BINARIES.python, BINARIES.etcd, BINARIES.haproxy, BINARIES.postgres_bin, 15)
    passwords = dict.fromkeys(PASSWORDS, "x")
    site = Site(old, node, HOME.node("n1"), Secrets(HOME.secrets), passwords, binaries)
    initdb = json.loads(render_node(site)[HOME.node("n1").config / "patroni.json"])["bootstrap"]["initdb"]
    assert not any("locale-provider" in option for option in initdb)


@pytest.mark.parametrize(("file", "port"), [("etcd.json", 12379), ("journal.json", 12389)])
def test_etcd_asks_everybody_for_a_certificate(file: str, port: int) -> None:
    """Clients and peers of both etcds speak TLS and show a certificate of the cluster's authority."""
    settings = json.loads(rendered("n3")[file])
    assert settings["listen-client-urls"] == f"https://127.0.1.3:{port}"
    assert settings["client-transport-security"]["client-cert-auth"] is True
    assert settings["peer-transport-security"]["client-cert-auth"] is True
    assert settings["initial-cluster"].count("https://") == 3


def test_the_journal_is_a_cluster_of_its_own() -> None:
    """Patroni's etcd and the journal's share no directory, address or token, so that one never harms the other."""
    etcd, journal = (json.loads(rendered("n1")[file]) for file in ("etcd.json", "journal.json"))
    apart = ("data-dir", "listen-client-urls", "listen-peer-urls", "initial-cluster", "initial-cluster-token")
    assert all(etcd[key] != journal[key] for key in apart)
    assert journal["initial-cluster"].count(":12390") == 3


def test_the_journal_is_bounded_and_compacted_by_workers_alone() -> None:
    """The journal's quota is the topology's; etcd itself throws no history away, and no returning member disturbs."""
    topology = msgspec.structs.replace(LOCAL, journal=Journal(quota_mib=16, size_max_mib=8))
    settings = json.loads(rendered("n1", topology)["journal.json"])
    assert settings["quota-backend-bytes"] == 16 * 1024 * 1024
    assert not any("compaction" in key for key in settings)
    assert settings["pre-vote"] is True
    assert tomllib.loads(rendered("n1", topology)["api.toml"])["journal"]["size_max_bytes"] == 8 * 1024 * 1024


def test_nothing_starts_by_itself_and_everything_is_restarted() -> None:
    """Programs are started in their order by `up`, and restarted by supervision whenever they end."""
    parser = supervisord("n1")
    programs = [section for section in parser.sections() if section.startswith("program:")]
    names = [name.removeprefix("program:") for name in programs]
    assert names == ["etcd", "journal", "patroni", "api", "worker", "audit", "door"]
    assert {(parser[name]["autostart"], parser[name]["autorestart"]) for name in programs} == {("false", "true")}


def test_no_program_hangs_on_its_supervisors_pipes() -> None:
    """Each program appends to a log of its own, so that it lives on when its supervisor dies."""
    parser = supervisord("n1")
    for name in (section for section in parser.sections() if section.startswith("program:")):
        assert parser[name]["stdout_logfile"] == "NONE"
        assert f"{HOME.node('n1').logs / name.removeprefix('program:')}.log " in parser[name]["command"]


def test_only_patronis_etcd_is_killed_when_it_is_stopped() -> None:
    """Whoever else stops ends in good order; a member of Patroni's etcd that does has the primary demoted."""
    parser = supervisord("n1")
    signals = {name: parser[name]["stopsignal"] for name in parser.sections() if name.startswith("program:")}
    assert {name for name, signal in signals.items() if signal == "KILL"} == {"program:etcd"}
    assert set(signals.values()) == {"KILL", "TERM"}


def test_supervisor_gives_up_only_towards_the_restarter() -> None:
    """The listener that starts what supervisor gave up on is itself never given up on in practice."""
    listener = supervisord("n2")["eventlistener:restarter"]
    assert listener["events"] == "PROCESS_STATE_FATAL,PROCESS_STATE_RUNNING"
    assert int(listener["startretries"]) >= 1_000_000


def test_a_path_with_a_percent_sign_is_escaped() -> None:
    """supervisor expands %, so a home that has one in its name is written with two."""
    home = Home(Path("/home/a%b")).node("n1")
    passwords = dict.fromkeys(PASSWORDS, "x")
    site = Site(LOCAL, LOCAL.nodes[0], home, Secrets(Path("/s")), passwords, BINARIES)
    assert "directory = /home/a%%b/nodes/n1/run" in render_node(site)[home.config / "supervisord.conf"]


def test_no_password_is_on_a_command_line() -> None:
    """Commands name files that hold passwords, and supervisor's own password is kept as a digest."""
    parser = supervisord("n1")
    assert "password-" not in " ".join(value for section in parser.values() for value in section.values()).replace(
        "password-file", ""
    )


@pytest.mark.parametrize("name", ["api.toml", "worker.toml", "audit.toml"])
def test_the_order_plane_is_told_all_it_needs(name: str) -> None:
    """The order plane's file names every database server and only files with secrets, never a secret."""
    text = rendered("n2")[name]
    settings = tomllib.loads(text)
    assert settings["node"] == "n2"
    assert settings["api"]["listen"] == "127.0.1.2:18000"
    assert settings["worker"]["listen"] == "127.0.1.2:18010"
    assert settings["database"]["hosts"] == ["127.0.1.1:15432", "127.0.1.2:15432", "127.0.1.3:15432"]
    assert Path(settings["database"]["password_file"]) == HOME.secrets / "postgres-app"
    assert settings["journal"]["members"] == ["127.0.1.2:12389", "127.0.1.1:12389", "127.0.1.3:12389"]
    assert "password-" not in text


@pytest.mark.parametrize("name", ["api.toml", "worker.toml", "audit.toml"])
def test_the_order_plane_understands_what_it_is_told(name: str, tmp_path: Path) -> None:
    """The rendered file is exactly what the order plane reads: nothing unknown, nothing missing."""
    file = tmp_path / name
    file.write_text(rendered("n3")[name], encoding="utf-8")
    configuration = Configuration.from_file(file)
    assert configuration.service == file.stem
    assert configuration.journal.members[0] == "127.0.1.3:12389"
    assert configuration.catalogue.age_max_s == 14400
