"""The checker's own command line; needs nothing of the product but what it reads."""

import argparse
import sys
from pathlib import Path

from .check import as_json, as_text, check
from .model import CheckerError

EXAMPLE = """\
example:
  python -m standfest.emergency.drills.checker drill.jsonl \\
      --database-conninfo-file conninfo --api http://127.0.0.1:8080 --key-file key --json

exit code: 0 nothing is wrong, 1 something is, 2 it could not be decided
"""


def main() -> int:
    """Checks one history; the exit code says how it went."""
    arguments = _parser().parse_args()
    try:
        verdict = check(
            arguments.history,
            _secret(arguments.database_conninfo_file),
            [url.rstrip("/") for url in arguments.api],
            _secret(arguments.key_file),
        )
    except (CheckerError, OSError) as error:
        sys.stderr.write(f"checker: {error}\n")
        return 2
    sys.stdout.write((as_json(verdict) if arguments.json else as_text(verdict)) + "\n")
    return 0 if verdict.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m standfest.emergency.drills.checker",
        description="Was every acknowledged order of a drill kept, once, as it was agreed?",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("history", type=Path, help="the history file that the drill wrote")
    parser.add_argument(
        "--database-conninfo-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="file with a libpq connection string, password or passfile included",
    )
    parser.add_argument("--api", action="append", required=True, metavar="URL", help="a door; may be repeated")
    parser.add_argument(
        "--key-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="file with a key that may read orders and stock",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return parser


def _secret(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    sys.exit(main())
