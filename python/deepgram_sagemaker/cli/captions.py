"""Live captions and the summary after them, for a terminal or as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from .figures import Figures, Final

__all__ = ["Captions", "heading", "summary", "summary_rows"]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):d}:{rest:05.2f}"


def _span(start: float, end: float) -> str:
    return f"{_clock(start)} \N{EN DASH} {_clock(end)}"


class Captions:
    """Shows one final result per line and, in a terminal, the current interim below them.

    Args:
        console: Where to print.
        channels: Whether to show the channel of each result.
    """

    def __init__(self, console: Console, *, channels: bool = False) -> None:
        self._console = console
        self._channels = channels
        # Without a terminal, no codes that move the cursor, and only final results.
        self._live = (
            Live(console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update("", refresh=True)
            self._live.stop()

    def interim(self, start: float, end: float, transcript: str) -> None:
        """Show an interim result; times are in seconds."""
        if self._live is not None and transcript:
            line = self._line(start, end, transcript, style="italic bright_black")
            self._live.update(line, refresh=True)

    def final(self, final: Final) -> None:
        """Show a final result, unless it is empty."""
        if self._live is not None:
            self._live.update("", refresh=True)
        if not final.transcript:
            return
        end = final.start + final.duration
        if self._live is None:
            channel = f"channel {final.channel}  " if self._channels else ""
            _plain(self._console, f"[{_span(final.start, end)}]  {channel}{final.transcript}")
        else:
            self._console.print(self._line(final.start, end, final.transcript, final.channel))

    def _line(
        self, start: float, end: float, text: str, channel: int | None = None, style: str = ""
    ) -> RenderableType:
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True, style="cyan")
        if self._channels:
            grid.add_column(no_wrap=True, style="magenta")
        grid.add_column(ratio=1)
        cells = [Text(_span(start, end))]
        if self._channels:
            cells.append(Text("" if channel is None else f"channel {channel}"))
        grid.add_row(*cells, Text(text, style=style))
        return Padding(grid, (0, 0, 0, 1))


def heading(console: Console, title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a title and facts about the run."""
    if not console.is_terminal:
        _plain(console, title)
        for name, value in facts:
            _plain(console, f"  {name}: {value}")
        _plain(console, "")
        return
    console.print(
        Panel(_grid(facts), title=f"[bold]{escape(title)}", title_align="left", border_style="blue")
    )


def summary_rows(figures: Figures, errors: float | None) -> list[tuple[str, str]]:
    """Return the summary's lines, as pairs of a name and a value.

    Args:
        figures: The conversation's figures.
        errors: The word error rate; None: there is no reference to compare with.
    """
    pace = figures.audio_sent / figures.elapsed if figures.elapsed else 0.0
    rows = [
        (
            "Audio",
            f"{figures.audio_sent:.2f} s in {figures.elapsed:.1f} s, {pace:.1f} times real time",
        ),
        ("Words", f"{figures.words}"),
    ]
    if errors is not None:
        rows.append(("Word errors", f"{errors:.1%} against what was read"))
    rows += [
        ("Sent", f"{figures.bytes_sent:,} bytes in {figures.chunks_sent:,} chunks"),
        ("Received", f"{figures.messages_received:,} messages: {_results(figures)}"),
    ]
    if figures.delay is not None:
        rows.append(
            ("Round trip", f"{figures.delay * 1000:.0f} ms from a phrase's last chunk to its final")
        )
    if figures.cpu_per_chunk is not None:
        rows.append(
            (
                "CPU",
                f"{figures.cpu_per_chunk * 1e6:.0f} µs a chunk under way, SDK included",
            )
        )
    rows.append(("Lost", _loss(figures)))
    return rows


def _results(figures: Figures) -> str:
    return f"{len(figures.finals)} final and {figures.interims} interim results"


def _loss(figures: Figures) -> str:
    if figures.lost or figures.repeated:
        return (
            f"{figures.lost:.3f} s of audio without a final result, {figures.repeated:.3f} s twice"
        )
    return "nothing: the final results tile the audio"


def summary(console: Console, figures: Figures, *, errors: float | None, good: bool) -> None:
    """Print the summary."""
    rows = summary_rows(figures, errors)
    if not console.is_terminal:
        _plain(console, "")
        for name, value in rows:
            _plain(console, f"{name + ':':<13}{value}")
        return
    console.print(
        Group(
            "",
            Panel(
                _grid(rows),
                title="[bold]Summary",
                title_align="left",
                border_style="green" if good else "red",
            ),
        )
    )


def _grid(rows: Sequence[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name), Text(value))
    return grid


def _plain(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False, emoji=False)
