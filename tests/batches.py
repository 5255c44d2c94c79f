"""Batches on Ray: recordings whose every chunk tells which recording it is from, and workers."""

import json
import os
import signal
import wave
from collections import Counter
from pathlib import Path

from deepgram_sagemaker.local.watermark import chunk

SPAN = 1000
"""Numbers of chunks that a recording has to itself."""

QUERY = {"model": "nova-3"}


def recording(path, number, *, chunks=50, channels=1):
    """Writes a recording with a number: its chunks have the numbers from `number * SPAN`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        first = number * SPAN
        file.writeframes(
            b"".join(chunk(first + n, 640 * channels, channels=channels) for n in range(chunks))
        )
    return path


def text(number, *, chunks=50):
    """What is said in a recording."""
    return " ".join(str(number * SPAN + n) for n in range(chunks))


def archive(folder, count, **options):
    """Writes recordings with the numbers from 0; returns their paths."""
    return [recording(folder / f"call {n:03d}.wav", n, **options) for n in range(count)]


def heard(endpoint):
    """How often the endpoint has begun to hear each recording, by number."""
    return Counter(leg.arrivals[0][0] // SPAN for leg in endpoint.legs if leg.arrivals)


def finished(output):
    """The paths of what is kept as finished in an output, in parts or not."""
    paths = set()
    for file in (output / "_progress").glob("*.json"):
        try:
            paths.add(json.loads(file.read_text())["name"])
        except FileNotFoundError:
            continue
    import pyarrow.parquet as pq

    for file in output.glob("part-*.parquet"):
        paths |= set(pq.read_table(file, columns=["path"])["path"].to_pylist())
    return paths


def number_of(path):
    """The number of a recording, from its name."""
    return int(Path(path).stem.split()[1])


def workers():
    """The processes of workers that are at work."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            title = (process / "cmdline").read_bytes()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if title.startswith(b"ray::MapWorker(") and parent != 1:
            found.append(int(process.name))
    return found


def kill(pid):
    os.kill(pid, signal.SIGKILL)
