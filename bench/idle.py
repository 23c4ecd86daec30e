"""What a cluster costs while nothing is ordered: processor time over a while, and memory (PSS: shared pages divided).

python -m bench.idle [--seconds 30]        the cluster in $STANDFEST_HOME
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import psutil

from standfest.cluster.home import Home
from standfest.cluster.processes import NodeProcess, processes_of
from standfest.cluster.topology_file import read_topology


def main() -> None:
    """Measure and print one line a program, and the sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    home = Home.default()
    nodes = [home.node(node.name) for node in read_topology(home.topology).nodes]
    before = {own.process: _cpu_s(own.process) for node in nodes for own in processes_of(node)}
    time.sleep(seconds)
    cores: defaultdict[str, float] = defaultdict(float)
    memory_mib: defaultdict[str, float] = defaultdict(float)
    for own in (own for node in nodes for own in processes_of(node)):
        name = _name(own)
        cores[name] += (_cpu_s(own.process) - before.get(own.process, 0.0)) / seconds
        memory_mib[name] += _pss_mib(own.process)
    for name in sorted(cores):
        sys.stdout.write(f"{name:12} {cores[name]:6.3f} cores {memory_mib[name]:8.1f} MiB\n")
    sys.stdout.write(f"{'sum':12} {sum(cores.values()):6.3f} cores {sum(memory_mib.values()):8.1f} MiB\n")


def _name(own: NodeProcess) -> str:
    return "postgres" if own.program.startswith("postgres") else own.program


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _pss_mib(process: psutil.Process) -> float:
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main()
