"""From runs to ratios: a table and a plot."""

import platform
from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import floor, log10
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["plot", "processor", "resets_table", "spread", "summary", "table"]

Figures = dict[str, float | None]

CLIENTS = ("published", "ours", "shared", "floor")
"""Ours twice: each stream with a connection of its own, and several on each."""
COLOURS = {"published": "#b9b9b9", "ours": "#0b7285", "shared": "#66b2bd", "floor": "#e8a33d"}
LONG = "500 for thirty seconds"
QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def spread(values: Iterable[int]) -> dict[str, int] | None:
    """Quantiles and the maximum of some times; None without times."""
    ordered = sorted(values)
    if not ordered:
        return None
    last = len(ordered) - 1
    chosen = {name: ordered[round(share * last)] for name, share in QUANTILES.items()}
    return chosen | {"max": ordered[-1]}


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Figures]]:
    """Medians over the repeats, by level and client."""
    grouped: dict[tuple[str, str], list[Figures]] = {}
    for run in runs:
        grouped.setdefault((_level(run), run["client"]), []).append(_figures(run))
    result: dict[str, dict[str, Figures]] = {}
    for (level, client), repeats in grouped.items():
        result.setdefault(level, {})[client] = {
            name: _median([figures[name] for figures in repeats]) for name in repeats[0]
        }
    return result


def _level(run: dict[str, Any]) -> str:
    if run.get("long"):
        return LONG
    return f"{run['streams']}" if run["pace"] == "spread" else f"{run['streams']} in step"


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _figures(run: dict[str, Any]) -> Figures:
    streams, chunks = run["streams"], run["streams"] * run["chunks"]
    steady, opening = run["steady"], run["opening"]
    delays = run["delays"] or {}
    first = run["first_results"] or {}

    def milliseconds(value: int | None) -> float | None:
        return None if value is None else value / 1e6

    return {
        "CPU a chunk, us": steady["cpu"] / chunks * 1e6,
        "of it in the system, us": steady["system"] / chunks * 1e6,
        "of it in the application's thread, us": steady["thread"] / chunks * 1e6,
        "waits a chunk": steady["waits"] / chunks,
        "cores": steady["cpu"] / steady["wall"],
        "times real time": steady["wall"] / run["ideal"],
        **{f"send to server {name}, ms": milliseconds(delays.get(name)) for name in QUANTILES},
        "memory a stream, KiB": run["resident"] / streams / 1024,
        "CPU of the process's first stream, ms": run["first"]["cpu"] * 1e3,
        "CPU an open, ms": opening["cpu"] / streams * 1e3,
        "opens a second": streams / run["opened"] * 1e9 if run["opened"] > 0 else None,
        "first result p50, ms": milliseconds(first.get("p50")),
        "first result p99, ms": milliseconds(first.get("p99")),
        "endpoint's CPU a chunk, us": run["endpoint"]["cpu"] / chunks * 1e6,
        "streams failed": float(run["failed"]),
        "streams not exact": float(run["inexact"]),
    }


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(levels: dict[str, dict[str, Figures]]) -> str:
    """Markdown: every figure of every client, and the ratios that matter first."""
    lines = ["## Ratios: the published package's figure over ours", ""]
    names = ["streams", "", *RATIOS]
    lines += [_row(names), _row(["---:"] * len(names))]
    lines += [
        _row([level, client, *(_ratio(how, clients, client) for how in RATIOS.values())])
        for level, clients in levels.items()
        if {"published", "floor"} <= clients.keys()
        for client in ("ours", "shared")
        if client in clients
    ]
    for level, clients in levels.items():
        shown = [client for client in CLIENTS if client in clients]
        lines += [
            "",
            f"## Streams: {level}",
            "",
            _row(["", *shown]),
            _row(["---", *["---:"] * len(shown)]),
        ]
        lines += [
            _row([name, *(_number(clients[client][name]) for client in shown)])
            for name in clients["ours"]
        ]
    return "\n".join(lines) + "\n"


def resets_table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: from a reset to the first replayed byte at the endpoint."""
    if not runs:
        return ""
    names = ["", "streams", "resumed", "not exact", "p50, ms", "p99, ms"]
    lines = ["", "## From a reset to the first replayed byte", "", _row(names)]
    lines.append(_row(["---", *["---:"] * (len(names) - 1)]))
    for run in runs:
        counts = [str(run[name]) for name in ("streams", "resumed", "inexact")]
        gaps = run["resets"] or {}
        times = [_number(gaps[name] / 1e6 if name in gaps else None) for name in ("p50", "p99")]
        lines.append(_row([run["client"], *counts, *times]))
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


Ratio = Callable[[dict[str, Figures], str], float]


def _ratio(how: Ratio, clients: dict[str, Figures], client: str) -> str:
    try:
        return f"{how(clients, client):.1f}"
    except (ValueError, ZeroDivisionError):
        return ""


def _known(name: str, figures: Figures) -> float:
    value = figures[name]
    if value is None:
        raise ValueError(f"no run has measured {name!r}")
    return value


def _over(name: str) -> Ratio:
    return lambda clients, client: (
        _known(name, clients["published"]) / _known(name, clients[client])
    )


def _net(clients: dict[str, Figures], client: str) -> float:
    published, ours, floor = (
        _known("CPU a chunk, us", clients[each]) for each in ("published", client, "floor")
    )
    return (published - floor) / (ours - floor)


RATIOS: dict[str, Ratio] = {
    "CPU a chunk": _over("CPU a chunk, us"),
    "CPU a chunk, net of the floor": _net,
    "memory a stream": _over("memory a stream, KiB"),
    "CPU an open": _over("CPU an open, ms"),
    "first result p99": _over("first result p99, ms"),
}


def plot(levels: dict[str, dict[str, Figures]]) -> str:
    """An SVG: three panels of bars on logarithmic scales."""
    panels = ["CPU a chunk, us", "memory a stream, KiB", "first result p99, ms"]
    width, height = 480, 300
    drawn = {level: clients for level, clients in levels.items() if level != LONG}
    body = [
        f'<g transform="translate({at * width},0)">{_panel(name, drawn, width, height)}</g>'
        for at, name in enumerate(panels)
    ]
    size = f'width="{width * len(panels)}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
        f'<rect {size} fill="white"/>{"".join(body)}</svg>\n'
    )


def _panel(name: str, levels: dict[str, dict[str, Figures]], width: int, height: int) -> str:
    left, top, bottom = 20, 50, height - 30
    values = [clients[c].get(name) or 0 for clients in levels.values() for c in clients]
    most = max(values, default=1) or 1
    # Logarithmic: the alternatives are an order of magnitude apart.
    low, high = _decade(min((value for value in values if value > 0), default=1)), _decade(most) + 1
    parts = [f'<text x="{left}" y="20" font-size="13" font-weight="bold">{escape(name)}</text>']
    for at, client in enumerate(CLIENTS):
        x = left + at * 80
        parts.append(f'<rect x="{x}" y="28" width="10" height="10" fill="{COLOURS[client]}"/>')
        parts.append(f'<text x="{x + 14}" y="37">{client}</text>')
    group = (width - left - 10) / max(len(levels), 1)
    bar = group / (len(CLIENTS) + 1)
    for place, (level, clients) in enumerate(levels.items()):
        x = left + place * group
        parts.append(
            f'<text x="{x + group / 2:.0f}" y="{height - 12}" text-anchor="middle">{level}</text>'
        )
        for at, client in enumerate(c for c in CLIENTS if c in clients):
            value = clients[client].get(name)
            if not value or value <= 0:
                continue
            share = (_log(value) - low) / (high - low)
            tall = max(share * (bottom - top - 12), 1)
            parts.append(
                f'<rect x="{x + at * bar:.1f}" y="{bottom - tall:.1f}" width="{bar - 1:.1f}" '
                f'height="{tall:.1f}" fill="{COLOURS[client]}"/>'
                f'<text x="{x + (at + 0.5) * bar:.1f}" y="{bottom - tall - 3:.1f}" '
                f'text-anchor="middle" font-size="8">{_number(value)}</text>'
            )
    return "".join(parts)


def _log(value: float) -> float:
    return log10(value)


def _decade(value: float) -> int:
    return floor(_log(value))
