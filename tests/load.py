"""Time on a shared machine, without the time that other processes took."""

import time
from pathlib import Path


def starved():
    """Seconds so far that this thread was ready to run and others had the processors."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        # Not Linux, or one that does not count it.
        return 0.0


class Stopwatch:
    """Runs while this thread runs or waits by itself, and not while it is kept from running."""

    def __init__(self):
        self._began = time.monotonic() - starved()

    @property
    def seconds(self):
        """Since it was made."""
        return time.monotonic() - starved() - self._began


def slowness(seconds=0.2):
    """How many times longer this thread takes for anything than with a processor to itself."""
    began, ran = time.perf_counter(), time.thread_time()
    while (busy := time.thread_time() - ran) < seconds:
        pass
    return (time.perf_counter() - began) / busy


def in_time(took, limit):
    """Returns whether something, such as another process, took no longer than it may.

    Where the machine is busy it may take as much longer as everything does.
    """
    return took <= limit or took <= limit * slowness()
