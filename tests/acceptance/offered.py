"""Throughput against offered load, before and now, as a picture: `python -m tests.acceptance.offered PICTURE.svg`.

`standfest bench offered` runs with this build and with an earlier commit, on the whole machine and with two thirds of
it taken. What was measured is printed as one line of JSON, and drawn. `--from FILE` draws such a line again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from pathlib import Path

from standfest.emergency.loops import taken
from standfest.scaling.bench.load import SENT_MIN
from tests.tables.measuring import checked_out
from tests.tables.table import ROOT

BEFORE = "1b3a525"
STARVED = 0.67
LOOPS_S_MAX = 3600.0
BENCH = Path("src/standfest/scaling/bench")
COPIED = ("offered.py", "load.py")
"""The benchmark, and what sends its load and tells what became of it: both builds are measured alike."""
BEGINS, ENDS = "the most that is reached", "stopping doors"
"""What the benchmark tells first when it measures, and first afterwards."""

Point = dict[str, float]
"""wanted, arrived, sent, accepted (orders/s), p99_ms, otherwise (orders)."""


@contextlib.contextmanager
def earlier(commit: str) -> Iterator[Path]:
    """The commit with this build's benchmark put into it."""
    with checked_out(commit) as old:
        for name in COPIED:
            (old / BENCH / name).write_bytes((ROOT / BENCH / name).read_bytes())
        command = old / "src/standfest/cli/bench.py"
        known = command.read_text().replace("journal, orders, overload", "journal, offered, orders, overload")
        command.write_text(known.replace('    "reads":', '    "offered": offered.run,\n    "reads":'))
        yield old


def measure(root: Path, share: float, seconds: float) -> list[Point]:
    """One benchmark of a build, with a share of the processor taken while it measures."""
    command = [str(root / "standfest"), "bench", "offered", "--rounds", "1", "--seconds", str(seconds), "--json"]
    with tempfile.TemporaryDirectory(prefix="standfest-offered-") as home, contextlib.ExitStack() as loops:
        environment = {**os.environ, "STANDFEST_HOME": home}
        with (
            tempfile.TemporaryFile("w+") as out,
            subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE, text=True) as child,
        ):
            said = []
            for line in child.stderr or ():
                said.append(line)
                sys.stderr.write(line)
                if share and line.startswith(BEGINS):
                    loops.enter_context(taken(share, LOOPS_S_MAX))
                elif line.startswith(ENDS):
                    loops.close()
            if child.wait():
                raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {said[-1:]}")
            out.seek(0)
            return points(json.load(out)["benches"][0]["rates"])


def points(rates: Mapping[str, Mapping[str, float]]) -> list[Point]:
    """The benchmark's rates, a point for each load."""
    names = {
        "wanted": "wanted, orders/s",
        "arrived": "arrived, orders/s",
        "sent": "sent, orders/s",
        "accepted": "accepted, orders/s",
        "p99_ms": "accepted, p99 ms",
        "otherwise": "not 201, 202 or 429",
    }
    loads = [times for name in rates for times, _, what in (name.partition(" x: "),) if what == names["wanted"]]
    return [{key: rates[f"{times} x: {what}"]["median"] for key, what in names.items()} for times in loads]


def is_short(point: Point) -> bool:
    """Whether clearly less was sent than was wanted: the generator did not reach it."""
    return point["sent"] < SENT_MIN * point["wanted"]


def short(series: Mapping[str, Mapping[str, Sequence[Point]]]) -> Iterator[str]:
    """Each point of which clearly less was sent than was wanted, for people."""
    for machine, of_build in series.items():
        for build, found in of_build.items():
            for point in filter(is_short, found):
                sent, wanted, arrived = point["sent"], point["wanted"], point["arrived"]
                yield (
                    f"{TITLES[machine]}, {build}: {sent:,.0f} orders/s were sent of the wanted {wanted:,.0f} "
                    f"({sent / wanted:.0%}; {arrived:,.0f} arrived)"
                )


WIDTH, HEIGHT, MARGIN = 420, 260, 56
COLOURS = {"before": "#b45309", "now": "#1d4ed8"}
TITLES = {"whole": "whole machine", "starved": f"{STARVED:.0%} of the processor taken"}
STYLE = (
    "text{font:12px sans-serif;fill:#374151}.axis{stroke:#9ca3af;opacity:.4}.box{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#d1d5db}.box{fill:#111827}}"
)


PANELS = (("accepted", "accepted, orders/s"), ("p99_ms", "p99 of the accepted, ms"))


def draw(series: Mapping[str, Mapping[str, Sequence[Point]]]) -> str:
    """An SVG: for each machine the accepted orders, and the percentile of their times, against those that were
    sent; hollow where the generator did not send what was wanted."""
    parts = []
    for column, (machine, of_build) in enumerate(series.items()):
        for row, (value, unit) in enumerate(PANELS):
            parts.append(f'<g transform="translate({column * WIDTH},{row * HEIGHT})">')
            parts.append(f'<text x="{MARGIN}" y="18">{escape(f"{TITLES[machine]}: {unit}")}</text>')
            parts.append(_panel(of_build, value) + "</g>")
    width, height = len(series) * WIDTH, 2 * HEIGHT + 24
    if any(short(series)):
        least = f"hollow: less than {SENT_MIN:.0%} of the wanted was sent"
        parts.append(f'<text x="{MARGIN + 90 * len(COLOURS)}" y="{height - 8}">{least}</text>')
    for number, (name, colour) in enumerate(COLOURS.items()):
        at = MARGIN + 90 * number
        parts.append(f'<circle cx="{at}" cy="{height - 12}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{at + 10}" y="{height - 8}">{name}</text>')
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    box = f'<rect class="box" width="{width}" height="{height}"/>'
    return f"{svg}<style>{STYLE}</style>{box}{''.join(parts)}</svg>\n"


def _panel(of_build: Mapping[str, Sequence[Point]], value: str) -> str:
    every = [point for found in of_build.values() for point in found]
    x = Scale.log([point["sent"] for point in every], MARGIN, WIDTH - 16)
    low, high = HEIGHT - MARGIN + 8, 30
    scale = Scale.log if value == "p99_ms" else Scale.linear
    y = scale([point[value] for point in every], low, high)
    parts = [f'<text x="{MARGIN}" y="{low + 32}">sent, orders/s</text>']
    for tick in x.ticks:
        parts.append(_line(x.at(tick), low, x.at(tick), high))
        parts.append(f'<text x="{x.at(tick):.1f}" y="{low + 16}" text-anchor="middle">{tick:,.0f}</text>')
    for tick in y.ticks:
        parts.append(_line(MARGIN, y.at(tick), WIDTH - 16, y.at(tick)))
        parts.append(f'<text x="{MARGIN - 6}" y="{y.at(tick) + 4:.1f}" text-anchor="end">{tick:,.0f}</text>')
    for build, found in of_build.items():
        places = [(x.at(point["sent"]), y.at(point[value])) for point in found]
        line = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[build]}" stroke-width="2"/>')
        for point, (across, up) in zip(found, places, strict=True):
            fill = f'class="box" stroke="{COLOURS[build]}"' if is_short(point) else f'fill="{COLOURS[build]}"'
            parts.append(f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" {fill}/>')
    return "".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="axis" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


@dataclass(frozen=True)
class Scale:
    """Where a value lies between two edges of a panel, in pixels."""

    ticks: Sequence[float]
    """The values that are named, the least and the most at the edges."""
    edges: tuple[float, float]
    of: Callable[[float], float]

    @classmethod
    def log(cls, values: Sequence[float], low: float, high: float) -> Scale:
        """Powers of ten around the values; below 1 counts as 1."""
        logs = [log10(max(each, 1.0)) for each in values]
        ticks = [10.0**power for power in range(int(min(logs)), int(max(logs)) + 2)]
        return cls(ticks, (low, high), lambda value: log10(max(value, 1.0)))

    @classmethod
    def linear(cls, values: Sequence[float], low: float, high: float) -> Scale:
        """From nothing, in five steps of a round width."""
        most = max(*values, 1.0)
        unit = 10.0 ** int(log10(most))
        step = next(unit * share for share in (0.2, 0.4, 0.5, 1.0, 2.0) if 5 * unit * share >= most)
        return cls([step * number for number in range(6)], (low, high), lambda value: value)

    def at(self, value: float) -> float:
        """The place of a value."""
        least, most = self.of(self.ticks[0]), self.of(self.ticks[-1])
        low, high = self.edges
        return low + (high - low) * (self.of(value) - least) / (most - least)


def main() -> None:
    """Measures, prints, draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--before", default=BEFORE)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--from", dest="measured", type=Path)
    given = parser.parse_args()
    if given.measured:
        series = json.loads(given.measured.read_text())
    else:
        series = {"whole": {}, "starved": {}}
        with earlier(given.before) as old:
            for machine, share in (("whole", 0.0), ("starved", STARVED)):
                for build, root in (("before", old), ("now", ROOT)):
                    series[machine][build] = measure(root, share, given.seconds)
        sys.stdout.write(json.dumps(series) + "\n")
    for line in short(series):
        sys.stderr.write(f"{line}\n")
    given.picture.write_text(draw(series))


if __name__ == "__main__":
    main()
