"""Several workers: one port, one scrape, one signal; a dead one is said and replaced."""

import asyncio
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from cli.gateways import converse, gateway, heard, send
from cli.test_gateway import values
from deepgram_sagemaker.cli import gateway_workers
from deepgram_sagemaker.cli.gateway_settings import GatewaySettings
from deepgram_sagemaker.conversations.reasons import ConversationError
from deepgram_sagemaker.local import LocalEndpoint
from sessions import until

pytestmark = [
    pytest.mark.patience(120),
    pytest.mark.skipif(sys.platform != "linux", reason="several processes share a port on Linux"),
]


@pytest.fixture
def endpoint():
    with LocalEndpoint("mine") as there:
        yield there


def children(pid):
    """The processes that a process has started."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def lives(pid):
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def scrape(running, wanted, *, within=20):
    """The figures, once they are as wanted: other workers' are up to a second old."""
    async with asyncio.timeout(within):
        while True:
            status, text = await running.get("/metrics")
            assert status == 200
            figures = values(text)
            if wanted(figures):
                return figures
            await asyncio.sleep(0.1)


async def test_workers_are_one_gateway_and_a_dead_one_is_replaced(endpoint):
    async with gateway("--workers", 2, endpoint=endpoint) as running:
        await running.up()
        assert "Workers:    2" in running.said
        workers = children(running.process.pid)
        assert len(workers) == 2
        # The kernel spreads connections: with so many, both have some.
        outcomes = await asyncio.gather(*(converse(running, 20) for _ in range(12)))
        assert all(numbers == list(range(20)) and code == 1000 for numbers, code in outcomes)

        def all_ended(figures):
            return figures["gateway_closes_total"] == 12

        figures = await scrape(running, all_ended)
        assert figures["gateway_conversations_total"] == figures["sessions_total"] == 12
        assert figures["gateway_workers"] == 2
        assert figures["audio_sent_size_bytes_total"] == 12 * 20 * 640
        # What was written down survives the worker.
        await asyncio.sleep(1.5)
        os.kill(workers[0], signal.SIGKILL)
        number = (await running.told(r"worker (\d) \(process \d+\) was killed by SIGKILL"))[1]
        replaced = await running.told(rf"worker {number} is process (\d+) now")
        assert sorted(children(running.process.pid)) == sorted([workers[1], int(replaced[1])])
        figures = await scrape(running, lambda found: found["gateway_workers"] == 2)
        assert figures["sessions_total"] == 12
        numbers, code = await converse(running, 20)
        assert (numbers, code) == (list(range(20)), 1000)
        assert (await scrape(running, lambda found: found["sessions_total"] == 13)) is not None
        running.stop()
        assert await running.ended() == (0, "")
    assert not any(map(lives, (workers[1], int(replaced[1]))))


async def test_signals_reach_every_worker_and_conversations_end_first(endpoint):
    async with gateway("--workers", 2, endpoint=endpoint) as running:
        await running.up()
        sockets = [await running.connect() for _ in range(6)]
        hearing = [asyncio.create_task(heard(socket)) for socket in sockets]
        for socket in sockets:
            await send(socket, 10)
        running.stop()
        await running.told("draining")
        for socket in sockets:
            await send(socket, 10, first=10)
            await socket.send('{"type": "CloseStream"}')
        assert await asyncio.gather(*hearing) == [list(range(20))] * 6
        assert {socket.close_code for socket in sockets} == {1000}
        assert (await running.ended())[0] == 0
        # No worker is taken for dead, or replaced.
        assert "another one starts" not in running.errors
        going = re.findall(r"draining: (\d+) conversation", running.errors)
        assert sum(map(int, going)) == 6


async def test_a_second_signal_ends_every_worker_at_once(endpoint):
    async with gateway("--workers", 2, endpoint=endpoint) as running:
        await running.up()
        sockets = [await running.connect() for _ in range(4)]
        running.stop(signal.SIGINT)
        await running.told("draining")
        running.stop(signal.SIGINT)
        assert (await running.ended(20))[0] == 0
        for socket in sockets:
            await socket.close()


async def test_workers_end_with_their_parent(endpoint):
    async with gateway("--workers", 2, "--drain-timeout", "1", endpoint=endpoint) as running:
        await running.up()
        workers = children(running.process.pid)
        running.stop(signal.SIGKILL)
        await until(lambda: not any(map(lives, workers)))


async def test_a_worker_that_cannot_start_is_the_end_with_its_reason(endpoint, tmp_path):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    arguments = ("--workers", 2, "--tls-certificate", wrong, "--tls-key", wrong)
    async with gateway(*arguments, endpoint=endpoint) as running:
        status, _ = await running.ended()
        assert status == 1
        assert "certificate" in running.errors.lower()
        assert re.search(r"Failed: worker \d \(process \d+\) did not start", running.errors)


async def test_a_worker_that_does_not_come_back_is_said_and_tried_again(
    tmp_path, monkeypatch, caplog
):
    """The first dies, the next two do not start, the one after them does."""
    asked = gateway_workers.Asked()
    parent = gateway_workers._Parent(GatewaySettings(), tmp_path, asked)
    tries = []

    async def start(number):
        tries.append(number)
        if len(tries) in (2, 3):
            raise ConversationError(f"worker {number} did not start: no more processes")
        program = "raise SystemExit(3)" if len(tries) == 1 else "import time; time.sleep(60)"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        line, other = socket.socketpair()
        other.close()
        parent.workers[number] = gateway_workers._Worker(
            number, f"{number}-{len(tries)}", process, line, time.monotonic()
        )

    monkeypatch.setattr(parent, "start", start)
    monkeypatch.setattr(gateway_workers, "_MOST_PAUSE", 0.05)
    await start(1)
    with caplog.at_level("INFO", "deepgram_sagemaker.gateway"):
        keeping = asyncio.create_task(parent.keep(1))
        await until(lambda: len(tries) == 4)
        await until(lambda: "is process" in caplog.text)
    asked.again()
    await parent.end()
    await keeping
    assert "ended with status 3" in caplog.text
    assert caplog.text.count("did not start: no more processes") == 2
    assert "another one starts in 0.05 s" in caplog.text


async def test_a_full_disk_costs_no_worker(tmp_path, monkeypatch, caplog):
    asked = gateway_workers.Asked()
    parent = gateway_workers._Parent(GatewaySettings(), tmp_path, asked)

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(parent._shared, "end", full)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    line, other = socket.socketpair()
    other.close()
    parent.workers[1] = gateway_workers._Worker(1, "1-a", process, line, time.monotonic())
    asked.again()
    await parent.keep(1)
    assert "what worker 1 has counted is lost: No space left on device" in caplog.text
