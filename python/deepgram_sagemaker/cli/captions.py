"""Live captions and the summary after them, for a terminal or as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .last_line import LastLine
from .transcripts import line_of, passages, span_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepgram_sagemaker.conversations.figures import Figures, Final, Streams

__all__ = ["Captions", "heading", "loss", "outcome", "stream_counts", "summary", "summary_rows"]


class Captions(LastLine):
    """Shows one final result per line and, in a terminal, the current interim below them.

    Args:
        console: Where to print.
        channels: Whether to show the channel of each result.
    """

    def __init__(self, console: Console, *, channels: bool = False) -> None:
        super().__init__(console)
        self._console = console
        self._channels = channels

    def interim(self, start: float, end: float, transcript: str) -> None:
        """Show an interim result; times are in seconds."""
        if transcript:
            self.show(self._line(start, end, transcript, style="italic bright_black"))

    def final(self, final: Final) -> None:
        """Show a final result, unless it is empty."""
        self.show("")
        for passage in passages(final, channels=self._channels):
            if self.is_shown:
                self._console.print(
                    self._line(passage.start, passage.end, passage.text, passage.label)
                )
            else:
                _plain(self._console, line_of(passage))

    def _line(
        self, start: float, end: float, text: str, label: str = "", style: str = ""
    ) -> RenderableType:
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True, style="cyan")
        if label:
            grid.add_column(no_wrap=True, style="magenta")
        grid.add_column(ratio=1)
        cells = [span_of(start, end), *([label] if label else [])]
        grid.add_row(*map(Text, cells), Text(text, style=style))
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
    if figures.streams is not None:
        rows.append(("Streams", stream_counts(figures.streams)))
    rows.append(("Lost", loss(figures)))
    return rows


def stream_counts(streams: Streams, *, audio: bool = True) -> str:
    """Return what the connection went through, in a few words.

    Args:
        streams: The counts.
        audio: Whether audio was sent, and not text.
    """
    resets = sum(streams.resets.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(streams.resets.items()))
    parts = [
        _counted(resets, "reset") + (f" ({kinds})" if kinds else ""),
        _counted(streams.retries, "retry", "retries"),
        _counted(streams.rollovers, "rollover"),
        *([f"{streams.replayed:.2f} s of audio sent again"] if audio else []),
    ]
    return f"{streams.legs}: {', '.join(parts)}"


def _counted(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _results(figures: Figures) -> str:
    if figures.windows_until is not None:
        return f"{len(figures.finals)} turns and {figures.interims} reports within turns"
    return f"{len(figures.finals)} final and {figures.interims} interim results"


def loss(figures: Figures) -> str:
    """Return in a few words what was lost."""
    if figures.lost or figures.repeated:
        return (
            f"{figures.lost:.3f} s of audio without a final result, {figures.repeated:.3f} s twice"
        )
    if figures.windows_until is not None:
        return "nothing: the turns do not overlap, and the reports reach the end of the audio"
    return "nothing: the final results tile the audio"


def summary(console: Console, figures: Figures, *, errors: float | None, good: bool) -> None:
    """Print the summary."""
    outcome(console, "Summary", summary_rows(figures, errors), good=good)


def outcome(console: Console, title: str, rows: Sequence[tuple[str, str]], *, good: bool) -> None:
    """Print what came of a command, as pairs of a name and a value."""
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
                title=f"[bold]{title}",
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
