"""One run at a time for each output: a file that the run renews, and that its end removes.

Another run that finds the file watches whether it changes. If it does not for `PATIENCE` seconds,
the run that wrote it is gone. If that run's process was on this machine and has ended, nothing is
waited for. No clock of one machine is compared with that of another.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from .places import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from .places import Place

__all__ = ["PATIENCE", "OutputBusyError", "RunLease"]

PATIENCE: Final = 20.0
"""Seconds without a change after which another run's file is abandoned."""

_RENEWAL: Final = 4.0

_logger = logging.getLogger("deepgram_sagemaker.ray")


class OutputBusyError(RuntimeError):
    """Another run is writing to the same output."""


class RunLease:
    """The right to write to an output.

    Args:
        place: The file.
        lost: Called, from a thread, with the reason, if another run has taken over or the file has
            gone.
        patience: Seconds without a change after which another run's file is abandoned.
    """

    def __init__(
        self, place: Place, lost: Callable[[Exception], object], *, patience: float = PATIENCE
    ) -> None:
        self.run = uuid.uuid4().hex
        self._place = place
        self._lost = lost
        self._patience = patience
        self._count = 0
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, name="deepgram-sagemaker-lease", daemon=True
        )

    def __enter__(self) -> Self:
        """Take the lease.

        Raises:
            OutputBusyError: Another run has it.
            OSError: The file cannot be read or written.
        """
        self._wait_for_the_other()
        self._write()
        # Two that begin at once both write: the last one's file stays.
        time.sleep(0.2)
        found = self._read()
        if found is None or found.get("run") != self.run:
            raise _busy(self._place, found)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Give it back."""
        self._over.set()
        self._thread.join(_RENEWAL)
        found = None
        with suppress(OSError):
            found = self._read()
            if found is not None and found.get("run") == self.run:
                self._place.filesystem.delete_file(self._place.path)

    def _wait_for_the_other(self) -> None:
        found = self._read()
        if found is None or _is_dead(found):
            return
        _logger.warning(
            "another run has written to this output: waiting %.0f s to see whether it still does",
            self._patience,
        )
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            time.sleep(min(1.0, self._patience / 4))
            now = self._read()
            if now is None:
                return
            if now != found:
                raise _busy(self._place, now)

    def _write(self) -> None:
        self._count += 1
        content = {
            "run": self.run,
            "count": self._count,
            "host": _host(),
            "pid": os.getpid(),
            "began": _began(os.getpid()),
        }
        write_whole(self._place, json.dumps(content).encode())

    def _read(self) -> dict[str, Any] | None:
        try:
            with self._place.filesystem.open_input_file(self._place.path) as file:
                found = json.loads(file.read())
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def _keep(self) -> None:
        while not self._over.wait(_RENEWAL):
            try:
                found = self._read()
                if found is None:
                    self._lost(FileNotFoundError(f"{self._place.shown} has gone during the run"))
                    return
                if found.get("run") != self.run:
                    self._lost(OutputBusyError("another run has taken the output over"))
                    return
                self._write()
            except OSError:
                # The next time may go better; meanwhile nothing else may have written either.
                _logger.warning("the output's lease was not renewed", exc_info=True)


def _busy(place: Place, found: dict[str, Any] | None) -> OutputBusyError:
    found = found or {}
    return OutputBusyError(
        f"another run is writing to this output (process {found.get('pid')} on "
        f"{found.get('host')}): wait until it has ended. {place.shown} is its lease"
    )


def _host() -> str:
    # A container has a name of its own and may see other processes with the same numbers.
    return socket.gethostname()


def _began(pid: int) -> str | None:
    """Return when a process began, in a form that only equals itself; None: it cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return f"{boot}/{fields[19]}"


def _is_dead(found: dict[str, Any]) -> bool:
    """Return whether the run's process is known to have ended."""
    pid, began = found.get("pid"), found.get("began")
    if found.get("host") != _host() or began is None or not isinstance(pid, int):
        return False
    # Numbers of processes are used again, and hosts are booted again.
    return bool(_began(pid) != began)
