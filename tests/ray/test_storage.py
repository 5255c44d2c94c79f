"""A worker's files: what is no file, what is slow, and threads that keep nobody waiting."""

import asyncio
import gzip
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from deepgram_sagemaker.conversations.recording import AudioError
from deepgram_sagemaker.ray import storage
from deepgram_sagemaker.ray.places import Place, Places
from deepgram_sagemaker.ray.storage import Storage
from deepgram_sagemaker.ray.work import may_pass
from pyarrow import fs
from sessions import until


@pytest.fixture
def files():
    files = Storage()
    yield files
    files.close()


async def whole(files, place):
    found = b""
    async with files.reading(place) as read:
        while data := await read(1000):
            found += data
    return found


async def test_a_file_is_read_in_pieces(files, tmp_path):
    content = os.urandom(700_001)
    (tmp_path / "a").write_bytes(content)
    assert await whole(files, Places().place(tmp_path / "a")) == content
    with pytest.raises(FileNotFoundError):
        await whole(files, Places().place(tmp_path / "b"))
    with pytest.raises(IsADirectoryError):
        await whole(files, Places().place(tmp_path))


@pytest.mark.parametrize("given", [None, fs.SubTreeFileSystem("/", fs.LocalFileSystem())])
async def test_a_pipe_is_refused_at_once(files, tmp_path, given):
    os.mkfifo(tmp_path / "pipe.wav")
    for name in (tmp_path / "pipe.wav", "/dev/zero"):
        with pytest.raises(AudioError, match="no regular file"):
            await asyncio.wait_for(whole(files, Places(given).place(name)), 20)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gz", b"not packed" * 10),
        ("a.gz", gzip.compress(os.urandom(5000))[:2000]),
        ("a.bz2", b"not packed" * 10),
        ("a.zst", b"not packed" * 10),
        ("a.lz4", b"not packed" * 10),
    ],
)
async def test_what_cannot_be_unpacked_is_no_audio(files, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match="cannot be unpacked: "):
        await whole(files, Places().place(tmp_path / name))


async def test_a_name_that_is_too_long_is_not_tried_again(files, tmp_path):
    with pytest.raises(OSError, match="too long") as caught:
        await whole(files, Places().place(tmp_path / ("a" * 300)))
    assert not may_pass(caught.value)


class Slow:
    """A file system, whose one file is opened or read when a test says so."""

    type_name = "slow"

    def __init__(self, waits):
        self.waits = waits
        self.go = threading.Event()
        self.closed = threading.Event()

    def get_file_info(self, path):
        return SimpleNamespace(type=fs.FileType.File)

    def _wait(self, what):
        if what == self.waits:
            assert self.go.wait(50)

    def open_input_stream(self, path):
        self._wait("open")
        return SimpleNamespace(read=self.read, close=self.closed.set)

    def read(self, size):
        self._wait("read")
        return b""


@pytest.mark.parametrize("waits", ["open", "read"])
async def test_a_slow_recording_is_given_up_and_closed_when_it_answers(files, monkeypatch, waits):
    monkeypatch.setattr(storage, "_PIECE", 0.2)
    slow = Slow(waits)
    place = Place(slow, "a", "a")
    with pytest.raises(TimeoutError, match=r"read too slowly: nothing has come for 0\.2 s"):
        await asyncio.wait_for(whole(files, place), 20)
    assert not slow.closed.is_set()
    slow.go.set()
    await until(slow.closed.is_set)


async def test_more_is_done_at_once_than_after_another(files):
    meet = threading.Barrier(20)
    await asyncio.gather(*(files.run(meet.wait, 50) for _ in range(20)))
    # Threads that are idle are used again.
    for _ in range(50):
        await files.run(lambda: None)
    assert files._threads <= 21
    with pytest.raises(KeyError):
        await files.run(lambda: {}["a"])


HANGING = """
import asyncio, threading
from deepgram_sagemaker.ray.storage import Storage

async def main():
    begun = threading.Event()
    hanging = asyncio.create_task(Storage().run(lambda: (begun.set(), threading.Event().wait())))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    hanging.cancel()

asyncio.run(main())
"""


def test_a_read_that_never_returns_does_not_keep_a_process_alive():
    subprocess.run([sys.executable, "-c", HANGING], check=True, timeout=50)
