"""The native threads of this process, of which Python does not know."""

import contextlib
import gc
import sys
import time
from pathlib import Path


def engine_threads():
    """How many engines run in this process."""
    engines = 0
    for thread in Path("/proc/self/task").iterdir():
        # One may end during this look.
        with contextlib.suppress(OSError):
            engines += (thread / "comm").read_text().startswith("deepgram-engine")
    return engines


def have_ended(within=20.0):
    """Waits until no engine runs; returns whether none does. Garbage may hold one."""
    if sys.platform != "linux" or not engine_threads():
        return True
    gc.collect()
    deadline = time.monotonic() + within
    while engine_threads():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
