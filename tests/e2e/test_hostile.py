"""A hostile server: openings, memory, log and result stay bounded, and the session ends in time."""

import asyncio
import contextlib
import json
import os
import struct
import sys
from dataclasses import dataclass

import pytest
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError
from e2e.hostile import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    INTERNAL_ERROR,
    NO_ERROR,
    OK,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    REFUSED_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Hostile,
    event,
    exception,
    field,
    frame,
    goaway,
    headers,
    reset,
    status,
)
from servers import serving
from sessions import until

URL = "wss://hostile/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
CHUNK = bytes(640)
OPEN = headers()
MIB = 1 << 20


def transport_to(server, url=URL, **fields):
    return SageMakerTransportFactory(config=server.config(**fields))(url, {})


# A leg without results.


def answers(*frames):
    async def script(stream):
        await stream.write(*frames)
        await stream.gone.wait()

    return script


def answers_data(payload, **how):
    async def script(stream):
        await stream.write(headers())
        await stream.data(payload, **how)
        await stream.gone.wait()

    return script


def leaves(*frames):
    async def script(stream):
        await stream.write(*frames)

    return script


UNKNOWN = event(b"{}", kind="SomethingNew")
HALF = event(b"half a message")[:-7]
HTML = b"<html><body>Welcome to nginx!</body></html>"

NOTHING = {
    "200 and its end": answers(headers(end=True)),
    "200, then an empty end": answers_data(b"", end=True),
    "200, then trailers": answers(headers(), headers(field("grpc-status", "0"), end=True)),
    "200, then reset without a reason": answers(headers(), reset(NO_ERROR)),
    "200, then cancelled": answers(headers(), reset(CANCEL)),
    "200, then refused": answers(headers(), reset(REFUSED_STREAM)),
    "200, then an internal error": answers(headers(), reset(INTERNAL_ERROR)),
    "200, then too much": answers(headers(), reset(ENHANCE_YOUR_CALM)),
    "200, then going away": leaves(headers(), goaway()),
    "200, then going away from it": leaves(headers(), goaway(0)),
    "200, then gone": leaves(headers()),
    "200 and an unknown event": answers_data(UNKNOWN, end=True),
    "200 and many unknown events": answers_data(UNKNOWN * 100, end=True),
    "200 and the operation's first response": answers_data(
        event(b"{}", kind="initial-response"), end=True
    ),
    "200 and half an event": answers_data(HALF, end=True),
    "200 and half an event, then gone": leaves(headers(), frame(DATA, HALF)),
    "200 and half a message": answers_data(event(b"half a ", partial=True), end=True),
    "200 and a web page": answers_data(HTML, end=True),
    "no answer, then reset": answers(reset(NO_ERROR)),
    "no answer, then refused": answers(reset(REFUSED_STREAM)),
    "no answer, going away": leaves(goaway(0)),
    "no answer, calm wanted": leaves(goaway(0, ENHANCE_YOUR_CALM)),
    "no answer, then gone": leaves(),
    "204 and its end": answers(headers(status(204), end=True)),
    "100, then gone": leaves(headers(status(100))),
    "a container that closes": answers_data(
        exception("ModelStreamError", b'{"ErrorCode":"1001","Message":"going away"}')
    ),
    "an unknown exception": answers_data(exception("Novelty", b"{}")),
}

# Ends in order: nothing was acknowledged, and nothing is missing.
CLEAN = {
    name for name in NOTHING if "its end" in name or "unknown" in name or "trailers" in name
} | {
    "200, then an empty end",
    "200 and the operation's first response",
}


async def openings(script, *, greeting=True):
    """Runs a session against a script; returns what is wrong with its end, if anything."""
    async with Hostile(script, greeting=greeting) as server:
        transport = transport_to(server, initial_backoff=0.05, stall_timeout=2.0, close_timeout=1.0)

        async def listen():
            await transport.send(CHUNK)
            while await transport.recv() is not None:
                pass

        listening = asyncio.create_task(listen())
        # A session has one attempt and its retries.
        with contextlib.suppress(TimeoutError):
            await until(lambda: listening.done() or server.connections > 6, within=30)
        stats = transport.stats
        if not listening.done():
            listening.cancel()
        (error,) = await asyncio.gather(listening, return_exceptions=True)
        await transport.close()
        said = len(str(error)) < 1000 and len(stats.last_error or "") < 1000
        if isinstance(error, SageMakerError) and server.connections <= 6 and said:
            return None
        return repr(error)[:200], server.connections, stats.last_error


async def check(scripts, **how):
    """All at once: each against a server of its own."""
    found = await asyncio.gather(*(openings(script, **how) for script in scripts.values()))
    assert {name: bad for name, bad in zip(scripts, found, strict=True) if bad} == {}


async def test_a_leg_that_brings_nothing_is_a_failure():
    await check({name: script for name, script in NOTHING.items() if name not in CLEAN})


async def test_a_leg_that_ends_in_order_and_brings_nothing_is_a_failure():
    await check({name: script for name, script in NOTHING.items() if name in CLEAN})


async def test_a_connection_that_brings_nothing_is_a_failure():
    async def gone_after_settings(stream):
        await stream.write(frame(SETTINGS, stream=0))

    async def gone_after_goaway(stream):
        await stream.write(frame(SETTINGS, stream=0), goaway(0))

    async def another_protocol(stream):
        await stream.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    scripts = {
        "gone after TLS": leaves(),
        "gone after its settings": gone_after_settings,
        "going away after its settings": gone_after_goaway,
        "HTTP/1.1 all the same": another_protocol,
    }
    await check(scripts, greeting=False)


async def test_however_often_an_application_sends_it_opens_no_more_legs():
    """Each end in order finds nothing missing, and each chunk wants another leg."""
    async with Hostile(NOTHING["200 and its end"]) as server:
        transport = transport_to(server, initial_backoff=0.05, close_timeout=1.0)

        async def talk():
            for _ in range(200):
                await transport.send(CHUNK)
                await asyncio.sleep(0.02)

        try:
            with pytest.raises(SageMakerError):
                await talk()
            assert server.connections <= 6
        finally:
            await transport.close()


# Floods.


@dataclass(frozen=True)
class Attack:
    """What a server does to a client in another process.

    Attributes:
        script: what it does on each stream.
        reads: whether the application reads: then the session has to end by itself.
        grown: the most memory that it may cost.
        fields: the client's settings.
    """

    script: object
    reads: bool = True
    grown: int = 48 * MIB
    fields: tuple = ()


def floods(block, *, times=100_000, **how):
    """Sends the same again and again, as far as the client lets it."""

    async def script(stream):
        await stream.write(headers())
        for _ in range(times):
            await stream.data(block, **how)

    return script


def spams(*frames, answer=OPEN, times=1_000_000, pause=0.0):
    """Sends frames that flow control is not about."""
    block = b"".join(frames)
    block *= 1 if pause else max(1, 16384 // len(block))

    async def script(stream):
        if answer:
            await stream.write(answer)
        for _ in range(times):
            await stream.write(block)
            if pause:
                await asyncio.sleep(pause)

    return script


def drips(payload, *, pause=0.02, again=True):
    """Sends a byte now and then."""

    async def script(stream):
        await stream.write(headers())
        while again:
            for byte in payload:
                await stream.data(bytes([byte]))
                await asyncio.sleep(pause)

    return script


def blown_up(count, size):
    """Headers in many frames."""
    block = OK + b"".join(field(f"x-{number}", "a" * size) for number in range(count))
    frames = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    return (
        frame(HEADERS, frames[0]),
        *(frame(CONTINUATION, part) for part in frames[1:-1]),
        frame(CONTINUATION, frames[-1], flags=END_HEADERS),
    )


def remembered(size, count):
    """A header that is said once, and meant again with a byte each time."""
    name = b"x-bomb"
    value = b"b" * size
    first = b"\x40" + bytes([len(name)]) + name + field("", "b" * size)[2:]
    assert value in first
    # The newest entry of the dynamic table is the 62nd.
    return headers(OK + first + b"\xbe" * count)


PADDING = (b"P", b"p" * 12_000)
FRUITLESS = {"max_retries": 2, "initial_backoff": 0.01, "stall_timeout": 2.0}
QUICK = {"max_retries": 1, "initial_backoff": 0.01, "stall_timeout": 1.0}
SLOW_ANSWER = QUICK | {"subscription_timeout": 1.0}

UNREAD = {
    "messages of a byte": Attack(floods(event(b"x") * 400), reads=False),
    "messages of nothing": Attack(floods(event() * 400), reads=False),
    "audio of a byte": Attack(floods(event(b"x", text=False) * 400), reads=False),
    "a byte under much padding": Attack(
        floods(event(b"x", more=[PADDING]) * 8), reads=False, grown=48 * MIB
    ),
    "messages of a byte in frames of forty": Attack(floods(event(b"x") * 40, size=40), reads=False),
    "a byte, and as many as can be beside it": Attack(
        floods(event(b"x") * 10, size=50, padding=255), reads=False
    ),
    "messages between pings": Attack(floods(event(b"x" * 200), size=16384), reads=False),
    "large messages": Attack(
        floods(event(b"x" * (3 * MIB), text=False)), reads=False, grown=64 * MIB
    ),
    "messages in parts of a byte": Attack(
        floods(event(b"x", partial=True) * 99 + event(b"x")), reads=False
    ),
}

ENDLESS = {
    "headers of 32 kB": Attack(floods(event(b"x", more=[(b"P", b"p" * 32_000)]))),
    "a thousand headers": Attack(floods(event(b"x", more=[(b"P", b"")] * 1000))),
    "parts without end": Attack(floods(event(partial=True) * 400), fields=FRUITLESS),
    "parts of a byte without end": Attack(
        floods(event(b"x", partial=True) * 400), fields=FRUITLESS
    ),
    "large parts without end": Attack(
        floods(event(b"x" * MIB, partial=True)), grown=96 * MIB, fields=FRUITLESS
    ),
    "unknown events without end": Attack(floods(UNKNOWN * 400), fields=FRUITLESS),
    "unknown events, each of another name": Attack(
        floods(b"".join(event(kind=f"New{number}" * 50) for number in range(500))),
        fields=FRUITLESS,
    ),
    "DATA of nothing": Attack(spams(frame(DATA))),
    "DATA of nothing but padding": Attack(floods(b"", padding=255, times=200_000), fields=QUICK),
    "DATA of a byte": Attack(floods(event(b"x" * 1000, partial=True), size=1), fields=QUICK),
    "an event byte by byte": Attack(drips(event(b"{}" * 500)), fields=QUICK),
    "an event that is longer than all": Attack(
        answers_data(struct.pack(">II", 1 << 31, 100) + bytes(100)), fields=QUICK
    ),
    "an event that does not come": Attack(answers_data(event(b"x" * MIB)[:5000]), fields=QUICK),
    "12 MB of headers": Attack(answers(*blown_up(1000, 12_000))),
    "100 kB of headers": Attack(answers(*blown_up(10, 10_000))),
    "a header said a thousand times": Attack(answers(remembered(4000, 12_000))),
    "continuations without end": Attack(
        spams(frame(CONTINUATION, field("x", "y")), answer=frame(HEADERS, OK))
    ),
    "continuations of nothing": Attack(spams(frame(CONTINUATION), answer=frame(HEADERS, OK))),
    "12 MB of trailers": Attack(
        answers(headers(), frame(HEADERS, b"", flags=END_STREAM), *blown_up(1000, 12_000)[1:])
    ),
    "103 without end": Attack(spams(headers(status(103)), answer=b""), fields=SLOW_ANSWER),
    "103 now and then": Attack(
        spams(headers(status(103)), answer=b"", pause=0.05), fields=SLOW_ANSWER
    ),
    "pings": Attack(spams(frame(PING, bytes(8), stream=0)), fields=QUICK),
    "pings before the answer": Attack(
        spams(frame(PING, bytes(8), stream=0), answer=b""), fields=SLOW_ANSWER
    ),
    "settings": Attack(
        spams(frame(SETTINGS, struct.pack(">HI", 4, 65535), stream=0)), fields=QUICK
    ),
    "settings that starve": Attack(
        answers(headers(), frame(SETTINGS, struct.pack(">HI", 4, 0), stream=0)), fields=QUICK
    ),
    "priorities": Attack(spams(frame(PRIORITY, struct.pack(">IB", 0, 1))), fields=QUICK),
    "window updates": Attack(
        spams(frame(WINDOW_UPDATE, struct.pack(">I", 1), stream=0)), fields=QUICK
    ),
    "a window update of nothing": Attack(
        answers(headers(), frame(WINDOW_UPDATE, bytes(4))), fields=QUICK
    ),
    "a window without end": Attack(
        answers(headers(), *[frame(WINDOW_UPDATE, b"\x7f\xff\xff\xff")] * 2), fields=QUICK
    ),
    "pushes that are reset": Attack(
        spams(
            frame(PUSH_PROMISE, struct.pack(">I", 2) + OK, flags=END_HEADERS),
            reset(CANCEL, stream=2),
        ),
        fields=QUICK,
    ),
    "resets of streams that never were": Attack(spams(reset(CANCEL, stream=5)), fields=QUICK),
    "data of streams that never were": Attack(
        spams(frame(DATA, b"x" * 1000, stream=7)), fields=QUICK
    ),
    "unknown frames": Attack(spams(frame(0xEE, bytes(1000))), fields=QUICK),
    "a frame that is too large": Attack(
        answers(headers(), frame(DATA, bytes(1 << 20))), fields=QUICK
    ),
    "going away again and again": Attack(spams(goaway(), answer=headers()), fields=QUICK),
}


def refuses_first(script):
    """The first request is the victim's warming up."""
    first = True

    async def refusing(stream):
        nonlocal first
        if first:
            first = False
            await stream.write(headers(status(403), end=True))
            await stream.gone.wait()
        else:
            await script(stream)

    return refusing


async def suffering(attack, *, seconds):
    """The report of an attack's victim, and the server's figures."""
    async with Hostile(refuses_first(attack.script)) as server:
        options = {
            "config": server.where() | {"close_timeout": 2.0} | dict(attack.fields),
            "reads": attack.reads,
            "seconds": seconds,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-W", "ignore", "-m", "e2e.victim", json.dumps(options)),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0
        return json.loads(out), server


def selected(attacks, *names):
    """All of them in a full run; else these: a process each is what takes the time."""
    return [pytest.param(name, marks=() if name in names else pytest.mark.full) for name in attacks]


@pytest.mark.parametrize(
    "name", selected(UNREAD, "messages of nothing", "a byte under much padding")
)
async def test_what_nobody_reads_takes_little_memory(name):
    attack = UNREAD[name]
    told, server = await suffering(attack, seconds=3.0)
    assert told["grown"] < attack.grown, told
    assert told["closed"] < 5, told
    assert told["attempts"] <= 2
    assert told["longest_line"] < 1000
    assert told["lines"] < 20
    (stream,) = server.streams[1:]
    assert stream.sent > MIB // 2, "a flood"


@pytest.mark.parametrize(
    "name",
    selected(
        ENDLESS,
        "parts without end",
        "unknown events, each of another name",
        "an event byte by byte",
        "12 MB of headers",
        "pings",
    ),
)
async def test_an_endless_flood_has_an_end(name):
    attack = ENDLESS[name]
    told, server = await suffering(attack, seconds=25.0)
    assert told["error"] is not None, told
    assert told["grown"] < attack.grown, told
    assert told["closed"] < 5, told
    assert server.connections - 1 <= 7
    assert told["longest_line"] < 1000, told
    assert told["lines"] < 60, told
    assert told["longest_text"] < 1000, told


# Texts of megabytes.

LONG = "\x1b[31mAKIAIOSFODNN7EXAMPLE\r\n" * 80_000

SAYS = {
    "an exception's message": exception(
        "ModelStreamError", json.dumps({"ErrorCode": "1011", "Message": LONG}).encode()
    ),
    "an exception's code": exception(
        "ModelStreamError", json.dumps({"ErrorCode": LONG, "Message": "no"}).encode()
    ),
    "an exception that is no JSON": exception("InternalStreamFailure", LONG.encode()),
    "an exception's name": exception("N" * 10_000, b"{}"),
    "an exception of a million values": exception(
        "InternalStreamFailure", b'{"more":[' + b"1," * 1_000_000 + b'1],"Message":"no"}'
    ),
    "an event's name": event(kind="N" * 10_000),
    "a header's value": event(more=[(b"DataType", b"N" * 10_000)]),
}


@pytest.mark.parametrize("name", selected(SAYS, "an exception's message", "an event's name"))
async def test_words_of_megabytes_are_cut(name):
    attack = Attack(answers_data(SAYS[name], end=True), fields=QUICK)
    told, server = await suffering(attack, seconds=15.0)
    assert told["error"] is not None
    assert told["grown"] < 64 * MIB, told
    assert told["longest_text"] < 2000, told
    assert told["last_error"] < 2000, told
    assert told["longest_line"] < 2000, told
    assert told["lines"] < 60
    assert server.connections - 1 <= 7


async def test_an_exception_of_megabytes_is_bounded():
    """The part of it that is kept, before it is quoted."""
    attack = Attack(answers_data(SAYS["an exception's message"], end=True), fields=QUICK)
    told, _ = await suffering(attack, seconds=15.0)
    assert told["error"] is not None
    assert told["last_error"] < 17_000
    assert told["longest_line"] < 100_000


# Claims beyond the audio.


def result(start, duration, transcript):
    words = [
        {"word": word, "start": start, "end": start + duration, "confidence": 1.0}
        for word in transcript.split()
    ]
    return event(
        json.dumps(
            {
                "type": "Results",
                "channel_index": [0, 1],
                "start": start,
                "duration": duration,
                "is_final": True,
                "speech_final": True,
                "channel": {
                    "alternatives": [{"transcript": transcript, "confidence": 1.0, "words": words}]
                },
                "metadata": {"request_id": "r"},
            }
        ).encode()
    )


def turn(name, index, end, transcript):
    return event(
        json.dumps(
            {
                "type": "TurnInfo",
                "event": name,
                "turn_index": index,
                "audio_window_start": 0.0,
                "audio_window_end": end,
                "transcript": transcript,
                "words": [{"word": word, "confidence": 1.0} for word in transcript.split()],
                "end_of_turn_confidence": 0.9,
                "sequence_id": index * 2,
                "request_id": "r",
            }
        ).encode()
    )


async def heard_after(server, url, first, second):
    """Sends a second of audio, and another after the first one's result; returns the results."""
    transport = transport_to(
        server, url, initial_backoff=0.05, stall_timeout=5.0, close_timeout=1.0
    )
    heard = []
    try:
        for _ in range(50):
            await transport.send(CHUNK)
        async with asyncio.timeout(10):
            while first not in "".join(heard):
                heard.append(await transport.recv())
            for _ in range(50):
                await transport.send(CHUNK)
            while second not in "".join(heard):
                heard.append(await transport.recv())
        lost = transport.stats.bytes_lost
    finally:
        await transport.close()
    return heard, lost


@pytest.mark.parametrize("beyond", [60.0, 1e9, 1e300])
async def test_a_final_beyond_the_audio_does_not_hide_what_follows(beyond):
    async def script(stream):
        await stream.write(headers())
        await asyncio.sleep(0.3)
        await stream.data(result(0.0, beyond, "first"))
        await asyncio.sleep(0.3)
        await stream.data(result(1.0, 0.5, "second"))
        await stream.gone.wait()

    async with Hostile(script) as server:
        heard, lost = await heard_after(server, URL, "first", "second")
    assert lost == 0
    first = json.loads(next(text for text in heard if "first" in text))
    assert first["start"] + first["duration"] <= 1.0 + 1e-6


@pytest.mark.parametrize("beyond", [60.0, 1e9])
async def test_a_turn_beyond_the_audio_does_not_hide_the_next(beyond):
    async def script(stream):
        await stream.write(headers())
        await stream.data(event(b'{"type":"Connected","request_id":"r","sequence_id":0}'))
        await asyncio.sleep(0.3)
        await stream.data(turn("StartOfTurn", 0, 0.5, "first"))
        await stream.data(turn("EndOfTurn", 0, beyond, "first"))
        await asyncio.sleep(0.3)
        await stream.data(turn("StartOfTurn", 1, 1.3, "second"))
        await stream.data(turn("EndOfTurn", 1, 1.5, "second"))
        await stream.gone.wait()

    url = "wss://hostile/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000"
    async with Hostile(script) as server:
        heard, lost = await heard_after(server, url, '"EndOfTurn"', "second")
    assert lost == 0
    assert heard


# A storm of our own handshakes.


async def test_a_hundred_factories_shake_hands_as_one():
    """A factory for each stream: the host sees no more handshakes at once than from one factory."""
    under_way = most = connections = 0

    async def hold(reader, writer):
        nonlocal under_way, most, connections
        connections += 1
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.1)
        # Before the client can have finished with it.
        under_way -= 1

    server = Hostile(leaves())

    async def fails(transport):
        with pytest.raises(SageMakerError, match="closed before TLS"):
            await transport.recv()
        await transport.close()

    async with serving(hold, backlog=1024) as server.port:
        transports = [transport_to(server, max_retries=0) for _ in range(100)]
        await asyncio.gather(*map(fails, transports))
    assert connections == 100
    assert 1 < most <= 32
