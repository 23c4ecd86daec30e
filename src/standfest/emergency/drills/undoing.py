"""What the guard of a drill that is gone undoes by a command: `python -m standfest.emergency.drills.undoing WHAT …`.

files PID:START SOFT HARD     gives a process back how many files it may have open
fail-points FILE PID:START    disarms a process whose fail points are in FILE
program CONFIG                ends what a drill has started itself with `--config CONFIG`
"""

import contextlib
import resource
import signal
import sys
from pathlib import Path

import psutil

from standfest.cluster.home import write_private
from standfest.emergency.drills import processes
from standfest.emergency.drills.processes import Process, ProcessGone


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
        case ["program", config]:
            end_program(Path(config))
        case other:
            sys.exit(f"this is nothing that a drill undoes: {' '.join(other)}")


if __name__ == "__main__":
    main()
