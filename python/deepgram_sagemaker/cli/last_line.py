"""The last line of a terminal, which changes while lines are printed above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.live import Live

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console, RenderableType

__all__ = ["LastLine"]


class LastLine:
    """Draws the line while it is entered; draws nothing if the console is no terminal.

    Args:
        console: Where lines are printed.
        redirect: Whether what others print on standard output goes above the line, too.
    """

    def __init__(self, console: Console, *, redirect: bool = True) -> None:
        # Without a terminal, no codes that move the cursor.
        self._live = (
            Live(console=console, auto_refresh=False, transient=True, redirect_stdout=redirect)
            if console.is_terminal
            else None
        )

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal."""
        return self._live is not None

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
            self.show("")
            self._live.stop()

    def show(self, line: RenderableType) -> None:
        """Draw this, in place of what is there; an empty text removes it."""
        if self._live is not None:
            self._live.update(line, refresh=True)
