"""The caption relay between tabs that count and an endpoint that counts."""

import asyncio
import json
import re
import signal
from contextlib import suppress

import pytest
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.watermark import chunk
from examples.programs import ended, variables
from examples.relays import relay, relay_process
from sessions import until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

CHUNKS = 100
SIZE = 640


def endpoint(*faults, **options):
    return LocalEndpoint(faults=[parse_fault(rule) for rule in faults], **options)


def tab(address, *, rate=16_000, origin=None, **options):
    """A tab's connection to the relay."""
    return connect(
        f"ws://{address}/captions?sample_rate={rate}",
        origin=origin or f"http://{address}",
        compression=None,
        proxy=None,
        **options,
    )


async def told(socket):
    """The messages until the relay closes the connection."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(await socket.recv()))
    return messages


async def speak(address, first):
    """A tab from its first word to its last caption; returns the captions."""
    async with tab(address) as socket:

        async def send():
            for number in range(first, first + CHUNKS):
                await socket.send(chunk(number, SIZE))
                await asyncio.sleep(0.005)
            await socket.send("stop")

        sending = asyncio.create_task(send())
        messages = await told(socket)
        await sending
        assert socket.close_code == 1000
    assert messages.pop() == {"type": "end"}
    assert {message["type"] for message in messages} == {"caption"}
    return messages


async def test_several_tabs_have_all_their_captions_through_resets():
    """Each session's stream breaks twice, and no tab learns of it."""
    firsts = (0, 1000, 2000)
    with endpoint("reset after-new-chunks=35 times=6") as there:
        async with relay(there.config()) as address:
            tabs = await asyncio.gather(*(speak(address, first) for first in firsts))
        assert there.stats.faults == 6
        assert len(there.legs) == 9
        assert there.stats.live_streams == 0
    for first, captions in zip(firsts, tabs, strict=True):
        finals = [each for each in captions if each["final"]]
        words = " ".join(each["text"] for each in finals).split()
        assert words == [str(number) for number in range(first, first + CHUNKS)]
        end = 0.0
        for each in finals:
            assert each["start"] == pytest.approx(end)
            end = each["end"]
        assert end == pytest.approx(CHUNKS * 0.02)
        assert any(not each["final"] and each["text"] for each in captions)


@pytest.mark.parametrize("leaves", ["in order", "at once", "after stop"])
async def test_a_session_ends_when_its_tab_goes(leaves):
    with endpoint() as there:
        async with relay(there.config(close_timeout=1.0)) as address:
            socket = await tab(address)
            for number in range(30):
                await socket.send(chunk(number, SIZE))
            await socket.recv()
            assert there.stats.live_streams == 1
            if leaves == "after stop":
                await socket.send("stop")
            if leaves == "in order":
                await socket.close()
            else:
                socket.transport.abort()
            await until(lambda: there.stats.live_streams == 0)
            assert there.stats.live_connections == 0


async def test_a_refusal_is_told_without_its_details():
    with endpoint("answer status=403 error-type=AccessDeniedException") as there:
        async with relay_process(variables(there)) as (process, address):
            async with tab(address) as socket:
                await socket.send(chunk(0, SIZE))
                messages = await told(socket)
                assert socket.close_code == 1011
            process.send_signal(signal.SIGINT)
            ran = await ended(process)
    assert messages == [
        {"type": "failed", "message": "The speech service refused the session.", "retry": False}
    ]
    # The log says all that the tab is not told.
    assert "a session failed: " in ran.err
    assert "InvokeEndpointWithBidirectionalStream" in ran.err
    assert ran.status == 0


async def test_a_session_that_may_work_later_says_so():
    with endpoint("answer status=503 times=always") as there:
        config = there.config(max_retries=2, initial_backoff=0.01)
        async with relay(config) as address, tab(address) as socket:
            await socket.send(chunk(0, SIZE))
            (message,) = await told(socket)
    assert message["retry"] is True
    assert message["message"] == "The speech service cannot be reached."


async def test_no_session_is_opened_for_other_sites_and_bad_rates():
    with endpoint() as there:
        async with relay(there.config()) as address:
            for strange in ({"origin": "https://elsewhere.example"}, {"rate": 100}, {"rate": "x"}):
                with pytest.raises(InvalidStatus, match="HTTP 403"):
                    await tab(address, **strange)
        assert there.stats.opens == 0


async def test_a_tab_that_does_not_read_holds_nothing_up():
    """Captions that a tab does not read are not kept for ever, and other tabs go on."""
    long = Watermark(window=4000, interim_every=1, listed_words=0)
    with endpoint(model=long) as there:
        config = there.config(close_timeout=0.5)
        async with relay(config, TAB_SECONDS=0.5) as address:
            # The client reads as long as there is room for a message.
            deaf = await tab(address, max_queue=1, ping_interval=None)
            await deaf.send(chunk(0, 160))
            await until(lambda: there.stats.live_streams == 1)
            with suppress(ConnectionClosed):
                for number in range(1, 4000):
                    await deaf.send(chunk(number, 160))
            await until(lambda: there.stats.live_streams == 0)
            deaf.transport.abort()
            assert there.legs[0].messages_out > 100
            assert "49" in (await short(address))[-2]["text"].split()


async def short(address):
    """A tab with one second of audio."""
    async with tab(address) as socket:
        for number in range(50):
            await socket.send(chunk(number, SIZE))
        await socket.send("stop")
        return await told(socket)


async def test_audio_does_not_pile_up_in_the_relay():
    """If the service takes nothing, the browser has to wait, until the session fails."""
    with endpoint("go-silent after-time=0") as there:
        config = there.config(
            max_replay_buffer_bytes=2**18, stall_timeout=1.5, max_retries=0, close_timeout=0.5
        )
        async with relay(config) as address, tab(address, ping_interval=None) as socket:
            sent, block = 0, bytes(50_000)
            with suppress(ConnectionClosed):
                while sent < 20_000_000:
                    await socket.send(block)
                    sent += len(block)
            # What the replay buffer holds, and the buffers of the socket.
            assert 2**18 <= sent < 20_000_000
            (message,) = await told(socket)
            assert (message["type"], message["retry"]) == ("failed", True)


async def test_ctrl_c_ends_the_sessions_of_open_tabs():
    with endpoint() as there:
        async with relay_process(variables(there)) as (process, address):
            async with tab(address) as socket:
                await socket.send(chunk(0, SIZE))
                await until(lambda: there.stats.live_streams == 1)
                process.send_signal(signal.SIGINT)
                await told(socket)
                assert socket.close_code == 1012
            ran = await ended(process)
        await until(lambda: there.stats.live_streams == 0)
    assert ran.status == 0
    assert not re.search("ERROR|Exception", ran.err), ran.err
