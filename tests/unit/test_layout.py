"""The project's own order: every test is run, every package has its room."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_test_file_lies_where_pytest_looks() -> None:
    """No test is written that scripts/test does not run."""
    looked_at = [ROOT / path for path in PYPROJECT["tool"]["pytest"]["ini_options"]["testpaths"]]
    files = list((ROOT / "tests").rglob("test_*.py"))

    assert files
    assert [file for file in files if not any(file.is_relative_to(path) for path in looked_at)] == []


def test_what_tests_need_pins_what_runs() -> None:
    """The lock for tests holds every package of the lock for running, in the same version."""
    run, dev = (
        {line.split(" ")[0] for line in (ROOT / "requirements" / name).read_text().splitlines() if line[:1].isalnum()}
        for name in ("run.txt", "dev.txt")
    )

    assert run
    assert run - dev == set()
