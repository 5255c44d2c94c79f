"""The plots of a report, as SVG that takes its colours from the page and stands for itself, too.

Needs matplotlib (extra `load`). Imports nothing of ours: it reads a report.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

__all__ = ["COLOURS", "Plot", "plots", "standalone", "style"]

type Report = Mapping[str, Any]

# A name in CSS, the colour on a light ground and on a dark one. Matplotlib draws with the first.
COLOURS: Final = {
    "ink": ("#1d2129", "#e3e6ec"),
    "faint": ("#c9ced8", "#454c5a"),
    "first": ("#1f6fd1", "#6badff"),
    "second": ("#b85c00", "#ffb347"),
    "third": ("#7a3fb5", "#cc99ff"),
    "bad": ("#c2212e", "#f07178"),
}
_INK, _FAINT, _FIRST, _SECOND, _THIRD, _BAD = (light for light, _ in COLOURS.values())
_SIZE: Final = (8.0, 2.9)
_FAILURES: Final = (
    ("refused", "refused", _BAD),
    ("unreachable", "no answer", _THIRD),
    ("failed", "failed", _INK),
    ("resets", "resets", _SECOND),
)
_LAGS: Final = (("p50", _FIRST), ("p95", _SECOND), ("p99", _THIRD))


class Plot:
    """One plot.

    Args:
        name: Its name, for ids.
        title: What it shows.
        svg: The drawing.
    """

    def __init__(self, name: str, title: str, svg: str) -> None:
        self.name = name
        self.title = title
        self.svg = svg


def plots(report: Report) -> list[Plot]:
    """Return the plots of a report that has at least one step."""
    made = [
        ("delays", "Delays against the number of streams", _against_streams),
        ("streams", "Streams over time", _streams),
        ("lag", "Lag of results over time", _lag),
        ("failures", "What failed, second by second", _failures),
        ("workers", "The load generator itself", _workers),
    ]
    with mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "deepgram-sagemaker",
            "font.family": "sans-serif",
            "font.size": 9,
            "axes.edgecolor": _FAINT,
            "axes.labelcolor": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.color": _INK,
            "xtick.color": _INK,
            "ytick.color": _INK,
            "grid.color": _FAINT,
            "legend.frameon": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.linewidth": 0.5,
        }
    ):
        return [Plot(name, title, _drawn(name, title, draw, report)) for name, title, draw in made]


def style() -> str:
    """Return the CSS that gives the colours their values, on light and dark grounds."""
    light = "".join(f"--{name}:{value};" for name, (value, _) in COLOURS.items())
    dark = "".join(f"--{name}:{value};" for name, (_, value) in COLOURS.items())
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"


def standalone(plot: Plot, ground: tuple[str, str] = ("#ffffff", "#12151b")) -> str:
    """Return a plot as an SVG file.

    Args:
        plot: The plot.
        ground: The colour behind it, light and dark.
    """
    light, dark = ground
    rules = (
        f"{style()}svg{{background:{light}}}"
        f"@media(prefers-color-scheme:dark){{svg{{background:{dark}}}}}"
    )
    return plot.svg.replace(">", f"><style>{rules}</style>", 1)


def _drawn(name: str, title: str, draw: Any, report: Report) -> str:  # noqa: ANN401 - a function
    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasSVG(figure)
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    draw(axes, report)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", ncols=4)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(name, title, file.getvalue())


def _inline(name: str, title: str, svg: str) -> str:
    """Return a drawing as one element, whose ids are its own and whose colours are the page's."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'font: ([^"]*?)px [^";]*', r"font: \1px system-ui, sans-serif", svg)
    for colour, (light, _) in COLOURS.items():
        svg = svg.replace(light, f"var(--{colour})")
    width, height = (value * 72 for value in _SIZE)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{title}">'
    )
    return re.sub(r"<svg[^>]*>", head, svg, count=1)


def _against_streams(axes: Axes, report: Report) -> None:
    steps = sorted(report["steps"], key=lambda step: step["live"])
    streams = [step["live"] for step in steps]
    for name, colour in _LAGS:
        _line(axes, streams, [step["lag"][name] for step in steps], f"lag {name}", colour, "o")
    first = [step["first_result"]["p95"] for step in steps]
    _line(axes, streams, first, "first result p95", _INK, ".")
    verdict = report["verdict"]
    if not verdict["holds"] and verdict["streams"]:
        axes.axvline(verdict["streams"], color=_BAD, linestyle="--")
        axes.annotate(
            f"{verdict['streams']}",
            (verdict["streams"], 1),
            xycoords=("data", "axes fraction"),
            color=_BAD,
            xytext=(-4, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            fontweight="bold",
        )
    axes.set_xlabel("open streams")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _seconds(axes)


def _streams(axes: Axes, report: Report) -> None:
    times, rows = _timeline(axes, report)
    axes.step(
        times, [row["wanted"] for row in rows], where="post", color=_FAINT, label="asked for", lw=2
    )
    axes.step(times, [row["live"] for row in rows], where="post", color=_FIRST, label="open")
    axes.set_ylabel("streams")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _lag(axes: Axes, report: Report) -> None:
    times, rows = _timeline(axes, report)
    for name, colour in _LAGS:
        _line(axes, times, [row["lag"][name] for row in rows], name, colour)
    _seconds(axes)


def _failures(axes: Axes, report: Report) -> None:
    times, rows = _timeline(axes, report)
    edges = [*times, len(rows)]
    below = [0] * len(rows)
    for name, label, colour in _FAILURES:
        counts = [sum(row[name].values()) for row in rows]
        above = [low + count for low, count in zip(below, counts, strict=True)]
        if any(counts):
            # One path, however long the test was.
            axes.stairs(above, edges, baseline=below, fill=True, color=colour, label=label)
        below = above
    if not any(below):
        axes.text(0.5, 0.5, "nothing failed", transform=axes.transAxes, ha="center")
    axes.set_ylabel("a second")
    axes.set_ylim(0, max(1, *below) * 1.25)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _workers(axes: Axes, report: Report) -> None:
    times, rows = _timeline(axes, report)
    late = [100 * row["chunks_late"] / max(1, row["chunks"]) for row in rows]
    _line(axes, times, late, "chunks sent late", _BAD)
    busy = [100 * row["busiest_thread"] for row in rows]
    _line(axes, times, busy, "busiest thread, of one processor", _FIRST)
    axes.set_ylabel("per cent")
    axes.set_ylim(0, 105)


def _timeline(axes: Axes, report: Report) -> tuple[list[int], Sequence[Mapping[str, Any]]]:
    """Prepare a plot over time: mark the steps, and return the seconds and their figures."""
    rows = report["timeline"]
    for step in report["steps"]:
        axes.axvline(step["begins"], color=_FAINT, linewidth=0.6, linestyle=":")
    axes.set_xlabel("seconds")
    axes.set_xlim(0, max(1, len(rows)))
    return [row["second"] for row in rows], rows


def _line(
    axes: Axes,
    across: Sequence[float],
    values: Sequence[float | None],
    label: str,
    colour: str,
    marker: str = "",
) -> None:
    """Draw a line with gaps where there are no values."""
    gapped = [float("nan") if value is None else value for value in values]
    axes.plot(across, gapped, color=colour, label=label, marker=marker, markersize=4)


def _seconds(axes: Axes) -> None:
    axes.set_ylabel("seconds")
    low, high = axes.get_ylim()
    axes.set_ylim(0, max(high, low) * 1.25)
