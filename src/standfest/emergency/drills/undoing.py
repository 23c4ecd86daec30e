"""What the guard of a drill that is gone undoes by a command: `python -m standfest.emergency.drills.undoing WHAT …`.

files PID:START SOFT HARD     gives a process back how many files it may have open
fail-points FILE PID:START    disarms a process whose fail points are in FILE
cores HOME CORE,CORE          lets all processes of a node run on these cores
program CONFIG                ends what a drill has started itself with `--config CONFIG`
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Collection
from pathlib import Path

import psutil

from standfest.cluster.home import NodeHome, write_private
from standfest.cluster.processes import everything_of
from standfest.emergency.drills import processes
from standfest.emergency.drills.processes import Process, ProcessGone

LISTINGS = 2
"""What was being started while the others were gone through is found by looking once more."""


def give_files_back(process: Process, limits: tuple[int, int]) -> None:
    """Sets the soft and the hard limit of exactly this process; one that has ended needs nothing."""
    if processes.is_running(process):
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)


def disarm(file: Path, process: Process) -> None:
    """Lets a process read an empty file of fail points; one that died at its own, or otherwise, needs nothing."""
    write_private(file, "")
    with contextlib.suppress(ProcessGone):
        processes.send(process, signal.SIGUSR1)


def give_cores(home: NodeHome, cores: Collection[int]) -> None:
    """Lets every thread of the node's processes run on these cores, and on no others; one that has ended needs nothing.

    What they start runs there as well.
    """
    for _ in range(LISTINGS):
        for process in everything_of(home):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for thread in Path(f"/proc/{process.pid}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), cores)


def end_program(config: Path) -> None:
    """SIGKILL to whatever runs with this configuration, which no supervisor knows."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessGone):
            found = processes.identify(each.pid)
            if each.cmdline()[-2:] == ["--config", str(config)]:
                processes.send(found, signal.SIGKILL)
    config.unlink(missing_ok=True)


def main() -> None:
    """Undoes one thing."""
    match sys.argv[1:]:
        case ["files", process, soft, hard]:
            give_files_back(Process.parse(process), (int(soft), int(hard)))
        case ["fail-points", file, process]:
            disarm(Path(file), Process.parse(process))
        case ["cores", home, cores]:
            give_cores(NodeHome(Path(home)), [int(core) for core in cores.split(",")])
        case ["program", config]:
            end_program(Path(config))
        case other:
            sys.exit(f"this is nothing that a drill undoes: {' '.join(other)}")


if __name__ == "__main__":
    main()
