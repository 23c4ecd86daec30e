"""Wakes frozen processes when standard input ends: `python -m standfest.emergency.drills.thaw PID:START …`.

A drill that freezes processes starts this guard first and holds its standard input open. However the drill
ends - done, interrupted, killed - the pipe closes, and the processes are woken.
"""

import signal
import sys

from standfest.emergency.drills.processes import Process, ProcessGone, send


def wake(processes: list[Process]) -> None:
    """Sends SIGCONT to each of them that still runs."""
    for process in processes:
        try:
            send(process, signal.SIGCONT)
        except ProcessGone:
            continue


def main() -> None:
    """Takes the processes from the arguments, says "ready", waits for the end of input, wakes them."""
    processes = [Process.parse(argument) for argument in sys.argv[1:]]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()
    wake(processes)


if __name__ == "__main__":
    main()
