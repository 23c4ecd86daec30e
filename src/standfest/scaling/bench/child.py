"""Programs that the benchmarks run: bounded in time, and gone when they are not waited for any more."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence

from standfest.errors import StandfestError

SAID_MAX = 500
"""Characters of what a program said last that an error repeats."""


class BenchFailed(StandfestError):
    """What was measured is worth nothing: something else went wrong."""


async def output(
    name: str,
    command: Sequence[str],
    timeout_s: float,
    *,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Runs a command and returns what it writes to standard output.

    Args:
        name: of the program, for people.
        command: the program and its arguments, which everybody may read.
        timeout_s: it is killed after so many seconds.
        given: its standard input.
        environment: instead of this process's own.

    Raises:
        BenchFailed: it did not end in time, or not with 0.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            said, errors = await process.communicate(given)
    except TimeoutError:
        raise BenchFailed(f"{name} did not end within {timeout_s:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise BenchFailed(f"{name} ended with {process.returncode}: {(errors or said).decode().strip()[-SAID_MAX:]}")
    return said
