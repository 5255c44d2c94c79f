"""What keeps its reader waiting: pipes, terminals and devices, read by the loop or by a thread."""

import asyncio
import contextlib
import os
import threading
from io import FileIO

import pytest
from deepgram_sagemaker.conversations import pipes
from loops import ProactorLike
from sessions import until

WAYS = [
    pytest.param(
        pipes.by_loop,
        marks=pytest.mark.skipif(os.name == "nt", reason="no loop waits for such a pipe"),
    ),
    pipes.by_thread,
]


@pytest.fixture
def pipe():
    reads, writes = os.pipe()
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(FileIO(writes, "w"))
        yield FileIO(reads), ours


def readers():
    return [each for each in threading.enumerate() if each.name == "deepgram-sagemaker-input"]


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_written_is_read_up_to_the_end(pipe, way):
    file, writes = pipe
    async with way(file) as read:
        writes.write(b"one")
        assert await read(2) == b"on"
        assert await read(100) == b"e"
        waiting = asyncio.create_task(read(100))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        writes.write(b"two")
        assert await waiting == b"two"
        writes.close()
        assert await read(100) == b""
        assert await read(100) == b""
    await until(lambda: file.closed and not readers())


@pytest.mark.parametrize("way", WAYS)
async def test_waiting_can_be_cancelled(pipe, way):
    file, writes = pipe
    async with way(file) as read:
        waiting = asyncio.create_task(read(100))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    # A thread that waits ends with what it waits for.
    writes.close()
    await until(lambda: file.closed and not readers())


async def test_a_read_that_fails_says_so(tmp_path, monkeypatch):
    class Broken(FileIO):
        def read(self, _size):
            raise OSError("the cable is out")

    (tmp_path / "device").write_bytes(b"")
    async with pipes.by_thread(Broken(tmp_path / "device")) as read:
        with pytest.raises(OSError, match="the cable is out"):
            await read(100)
    await until(lambda: not readers())


def test_a_loop_that_is_gone_is_not_told(pipe):
    file, writes = pipe

    async def main():
        async with pipes.by_thread(file) as read:
            waiting = asyncio.create_task(read(100))
            await asyncio.sleep(0.01)
            waiting.cancel()

    with asyncio.Runner(loop_factory=ProactorLike) as runner:
        runner.run(main())
    writes.write(b"too late")
    writes.close()
    for thread in readers():
        thread.join(10)
    assert file.closed


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
@pytest.mark.parametrize("where", ["terminal", "null"])
async def test_devices_are_read(where):
    """No loop waits for `/dev/null`, and not every system's for a terminal."""
    if where == "null":
        async with pipes.reading(FileIO(os.devnull)) as read:
            assert await asyncio.wait_for(read(100), 10) == b""
        return
    controller, terminal = os.openpty()
    with FileIO(controller, "r+") as person:
        async with pipes.reading(FileIO(terminal)) as read:
            person.write(b"typed\n")
            assert await asyncio.wait_for(read(100), 10) == b"typed\n"


async def test_a_regular_file_is_read_directly(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    file = FileIO(tmp_path / "file")
    async with pipes.reading(file) as read:
        assert await read(4) == b"cont"
        assert await read(4) == b"ent"
        assert await read(4) == b""
    assert file.closed


async def test_pipes_are_read_by_a_thread_where_loops_cannot_wait_for_them(pipe, monkeypatch):
    monkeypatch.setattr(pipes, "_LOOPS_READ", False)
    file, writes = pipe
    async with pipes.reading(file) as read:
        writes.write(b"over there")
        assert await read(100) == b"over there"
        assert len(readers()) == 1
    await until(lambda: not readers())
