"""A bar for each recording, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .transcripts import span_of

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import TaskID

    from deepgram_sagemaker.conversations.figures import Final

__all__ = ["Bar", "Bars"]


class Bars:
    """Shows bars while it is entered; shows nothing if the console is no terminal.

    Args:
        console: Where to show them. Nothing else may write to that terminal meanwhile.
        wanted: Whether to show them at all.
    """

    def __init__(self, console: Console, *, wanted: bool = True) -> None:
        self._progress = (
            Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[heard]}", style="cyan", markup=False),
                TimeElapsedColumn(),
                console=console,
                transient=True,
                # Standard output is for transcripts, and may be a file.
                redirect_stdout=False,
                redirect_stderr=False,
            )
            if wanted and console.is_terminal
            else None
        )

    @property
    def are_shown(self) -> bool:
        """Whether there are bars on a terminal."""
        return self._progress is not None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def bar(self, name: str, seconds: float | None) -> Bar:
        """Add the bar of a recording.

        Args:
            name: What it is called.
            seconds: Its length; None: not known.
        """
        if self._progress is None:
            return Bar(None, None)
        task = self._progress.add_task(name, total=seconds, heard="")
        return Bar(self._progress, task)


class Bar:
    """Follows the results of one recording."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress = progress
        self._task = task
        self._heard = 0.0

    def interim(self, start: float, end: float, transcript: str) -> None:
        """Follow an interim result."""
        self._reach(end)

    def final(self, final: Final) -> None:
        """Follow a final result."""
        self._reach(final.end)

    def over(self) -> None:
        """Remove the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)

    def _reach(self, end: float) -> None:
        self._heard = max(self._heard, end)
        if self._progress is not None and self._task is not None:
            heard = span_of(0.0, self._heard).rpartition(" ")[2]
            self._progress.update(self._task, completed=self._heard, heard=heard)
