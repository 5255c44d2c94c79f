"""Bounds: slow readers, slow senders, clients that say nothing, too much of anything."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import pytest
from deepgram_sagemaker.gateway import Key
from deepgram_sagemaker.local import LocalEndpoint
from gateway.clients import LISTEN, Raw, connect, converse, framed, gateway_to, numbers_in
from sessions import counted_chunk, until

MIB = 1 << 20
KEPT = 16 * MIB
"""What the sockets of this machine and HTTP/2 may hold between two that do not read."""


FILE = "/v1/listen?model=nova-3"
"""Audio without a clock: the session does not hold a file back to the pace of its audio."""


async def test_a_service_that_does_not_read_holds_the_client_back():
    reads = asyncio.Event()

    async def slow(stream):
        heard = 0
        await reads.wait()
        async for message in stream:
            if isinstance(message, str):
                await stream.send(json.dumps({"type": "Metadata", "bytes": heard}))
                return
            heard += len(message)

    size, count = MIB, 64
    async with LocalEndpoint(model=slow) as endpoint, gateway_to(endpoint) as gateway:
        async with connect(gateway, FILE) as socket:
            sending = asyncio.create_task(_send(socket, bytes(size), count))
            await _standstill(lambda: gateway.counts["bytes_in"])
            assert not sending.done()
            assert gateway.counts["bytes_in"] <= KEPT
            reads.set()
            await sending
            await socket.send('{"type": "CloseStream"}')
            said = [json.loads(each) async for each in socket]
        assert said[-1]["bytes"] == size * count


async def _send(socket, data, count):
    for _ in range(count):
        await socket.send(data)


async def _standstill(read):
    """Waits until a figure does not change any more."""
    before = -1
    while (now := read()) != before or not now:
        before = now
        await asyncio.sleep(0.5)


async def test_a_client_that_does_not_read_holds_the_service_back():
    sent = 0

    async def talkative(stream):
        nonlocal sent
        await anext(aiter(stream))
        for _ in range(80):
            await stream.send(bytes(MIB))
            sent += 1

    async with LocalEndpoint(model=talkative) as endpoint, gateway_to(endpoint) as gateway:
        raw = await (await Raw.open(gateway, LISTEN)).accepted()
        await raw.write(framed(counted_chunk(0)))
        await _standstill(lambda: sent)
        # The session's own bound for messages that are not read is 16 MiB.
        assert sent * MIB <= KEPT + 16 * MIB
        assert gateway.counts["bytes_out"] <= KEPT
        came = 0
        while came < 80:
            first, payload = await raw.frame()
            if first == 0x82:
                assert len(payload) == MIB
                came += 1
        await raw.leave()


@pytest.mark.full
async def test_what_is_left_reaches_a_slow_client_before_its_close():
    async def talkative(stream):
        await anext(aiter(stream))
        await stream.send(json.dumps({"type": "Metadata"}))
        # The session has given all of it away, and most of it waits for the socket.
        await stream.send(bytes(12 * MIB))

    async with LocalEndpoint(model=talkative) as endpoint, gateway_to(endpoint) as gateway:
        raw = await (await Raw.open(gateway, FILE, kept=1 << 16)).accepted()
        await raw.write(framed(b'{"type": "CloseStream"}', 1))
        # Longer than a session that is over waits for the word how to close.
        await asyncio.sleep(12)
        assert b"Metadata" in await raw.control(1)
        assert len(await raw.control(2)) == 12 * MIB
        assert await raw.closed() == 1000
        await raw.leave()


async def test_a_slow_client_does_not_slow_another():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        slow = await (await Raw.open(gateway, LISTEN + "&interim_results=true")).accepted()
        for number in range(500):
            await slow.write(framed(counted_chunk(number)))
        assert numbers_in(await converse(gateway, 100)) == list(range(100))
        await slow.leave()


IMPATIENT = {"ping_interval": 0.4, "ping_timeout": 0.4}


async def test_a_client_that_reads_slowly_and_says_nothing_is_there():
    async def talkative(stream):
        await anext(aiter(stream))
        for _ in range(40):
            await stream.send(bytes(MIB))

    async with (
        LocalEndpoint(model=talkative) as endpoint,
        gateway_to(endpoint, **IMPATIENT) as gateway,
    ):
        raw = await (await Raw.open(gateway, LISTEN, kept=1 << 16)).accepted()
        await raw.write(framed(counted_chunk(0)))
        # It plays what it hears, and never answers a ping.
        for _ in range(30):
            await raw.reader.readexactly(200_000)
            await asyncio.sleep(0.1)
        assert gateway.conversations == 1
        await raw.leave()


async def test_a_client_that_sends_slowly_is_there_within_one_message():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint, **IMPATIENT) as gateway:
        raw = await (await Raw.open(gateway)).accepted()
        whole = framed(b"".join(map(counted_chunk, range(50))))
        for at in range(0, len(whole), 1600):
            await raw.write(whole[at : at + 1600])
            await asyncio.sleep(0.1)
        await raw.write(framed(b'{"type": "CloseStream"}', 1))
        said = [""]
        while "Metadata" not in said[-1]:
            said.append((await raw.control(1)).decode())
        said.remove("")
        assert numbers_in(said) == list(range(50))
        await raw.leave()


async def test_a_client_with_which_nothing_moves_is_gone():
    """It sends, and reads nothing, until both directions are full."""

    async def talkative(stream):
        async for _ in stream:
            await stream.send(bytes(MIB))

    served = []
    settings = {"on_request": served.append} | IMPATIENT
    async with (
        LocalEndpoint(model=talkative) as endpoint,
        gateway_to(endpoint, **settings) as gateway,
    ):
        raw = await (await Raw.open(gateway, FILE, kept=1 << 16)).accepted()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while not served:
                    await raw.write(framed(bytes(MIB)))
        await until(lambda: served)
        assert [each.by for each in served] == ["lost"]
        await until(lambda: endpoint.stats.live_streams == 0)
        raw.writer.transport.abort()


async def test_answers_to_pings_that_are_not_read_are_bounded():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        raw = await (await Raw.open(gateway, kept=1 << 16)).accepted()
        pings, sent = framed(bytes(125), 9) * 1000, 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 * MIB:
                async with asyncio.timeout(2):
                    await raw.write(pings)
                sent += len(pings)
        assert sent <= KEPT, "the gateway goes on reading"
        assert numbers_in(await converse(gateway, 50)) == list(range(50))
        raw.writer.transport.abort()


async def test_a_connection_may_ask_for_more_than_one_thing():
    """Each request has its own deadline, however old the connection is."""
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        raw = Raw(*await asyncio.open_connection(*gateway.address))
        for _ in range(3):
            await raw.write("GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
            status, headers = await raw.head()
            assert status == 200
            await raw.reader.readexactly(int(headers["content-length"]))
        await raw.leave()
        await until(lambda: gateway.counts["connections"] == 0)
        assert gateway.counts["connections_unheard"] == 0


async def test_a_client_that_is_silent_is_asked_and_then_gone():
    served = []
    async with (
        LocalEndpoint() as endpoint,
        gateway_to(endpoint, on_request=served.append, **IMPATIENT) as gateway,
    ):
        silent = await (await Raw.open(gateway)).accepted()
        answering = await connect(gateway)
        assert await silent.control(9) == b""
        assert await silent.control(8) is None, "it is not there, so it is not told"
        await until(lambda: served)
        assert (served[0].by, served[0].close_code) == ("lost", None)
        await silent.leave()
        # The library answers pings.
        await asyncio.sleep(1.0)
        await answering.send(counted_chunk(0))
        await answering.close()
        await until(lambda: len(served) == 2)
        assert served[1].by == "client"


async def test_a_request_has_to_come_in_time():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint, head_timeout=0.5) as gateway:
        silent = Raw(*await asyncio.open_connection(*gateway.address))
        begun = Raw(*await asyncio.open_connection(*gateway.address))
        await begun.write("GET /v1/listen HTTP/1.1\r\nHost: x\r\n")
        dripping = Raw(*await asyncio.open_connection(*gateway.address))

        async def drip():
            with contextlib.suppress(ConnectionError):
                for letter in "GET /v1/listen HTTP/1.1\r\nHost: x\r\nX-Slow: " + "x" * 1000:
                    await dripping.write(letter)
                    await asyncio.sleep(0.02)

        dripped = asyncio.create_task(drip())
        async with asyncio.timeout(5):
            assert await silent.reader.read() == b""
            assert (await begun.head())[0] == 408
            assert await begun.reader.read() == b""
            assert (await dripping.head())[0] == 408
            await dripped
        for each in (silent, begun, dripping):
            await each.leave()
        await until(lambda: gateway.counts["connections"] == 0)
        assert gateway.counts["connections_unheard"] == 3


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (LISTEN, ["X-Long: " + "x" * (17 << 10)], 431),
        (LISTEN, [f"X-{n}: y" for n in range(150)], 431),
        ("/" + "x" * (17 << 10), [], 431),
        (LISTEN, ["Not a header"], 400),
    ],
    ids=["long", "many", "path", "malformed"],
)
async def test_heads_are_bounded(path, headers, status):
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        raw = await Raw.open(gateway, path, headers=headers)
        assert (await raw.head())[0] == status
        assert await raw.reader.read() == b""
        await raw.leave()
        assert gateway.counts["conversations_begun"] == 0


async def test_what_is_no_http_is_closed():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        for sent in (
            b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3" + bytes(64),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            raw = Raw(*await asyncio.open_connection(*gateway.address))
            await raw.write(sent)
            with contextlib.suppress(ConnectionError):
                await raw.reader.read()
            await raw.leave()
        await until(lambda: gateway.counts["connections"] == 0)
        assert numbers_in(await converse(gateway, 5)) == list(range(5))


async def test_connections_are_limited():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint, max_connections=2) as gateway:
        async with connect(gateway), connect(gateway):
            for _ in range(3):
                raw = await Raw.open(gateway)
                status, headers = await raw.head()
                assert status == 503
                assert (await raw.body(headers))["err_code"] == "SERVICE_UNAVAILABLE"
                await raw.leave()
            alive = await Raw.open(gateway, "/healthz")
            assert (await alive.head())[0] == 200
            await alive.leave()
        await until(lambda: gateway.counts["connections"] == 0)
        assert numbers_in(await converse(gateway, 5)) == list(range(5))


async def test_floods_do_not_harm_a_live_stream():
    """Idle connections, refused ones, and opens that go away again, all beside one live stream."""
    served = []
    settings = {"keys": [Key("live", "key")], "on_request": served.append}
    async with LocalEndpoint() as endpoint, gateway_to(endpoint, **settings) as gateway:
        key = {"additional_headers": {"Authorization": "Token key"}}
        live = asyncio.create_task(converse(gateway, 150, pace=0.02, **key))
        idle = [Raw(*await asyncio.open_connection(*gateway.address)) for _ in range(200)]
        for _ in range(10):
            unknown = await asyncio.gather(*(Raw.open(gateway) for _ in range(20)))
            assert {(await each.head())[0] for each in unknown} == {401}
            leaving = [
                await Raw.open(gateway, headers=["Authorization: Token key"]) for _ in range(5)
            ]
            for each in (*unknown, *leaving):
                await each.leave()
        assert numbers_in(await live) == list(range(150))
        for each in idle:
            await each.leave()
        await until(lambda: gateway.counts["connections"] == 0 and gateway.conversations == 0)
        assert gateway.counts["refused_401"] == 200
        # Every request was told once; a client may leave before its request is heard.
        begun = gateway.counts["conversations_begun"]
        assert 1 < begun <= 51
        await until(lambda: len(served) == 200 + begun)
        assert len({each.id for each in served}) == 200 + begun


async def test_clients_that_come_and_go_do_not_pile_up():
    """While the event loop is busy, nobody takes what has ended."""
    most, more = 1024, 100
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        address = gateway.address

        def come_and_go():
            head = "\r\n".join(
                (
                    f"GET {LISTEN} HTTP/1.1",
                    "Host: x",
                    "Upgrade: websocket",
                    "Connection: Upgrade",
                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                    "Sec-WebSocket-Version: 13",
                    "\r\n",
                )
            ).encode()
            for _ in range(2 * most):
                if gateway.counts["refused_503"] == more:
                    return
                with socket.create_connection(address) as client:
                    before = gateway.counts["conversations_begun"], gateway.counts["refused_503"]
                    client.sendall(head)
                    # It leaves once it was heard.
                    while before == (
                        gateway.counts["conversations_begun"],
                        gateway.counts["refused_503"],
                    ):
                        time.sleep(0)

        flood = threading.Thread(target=come_and_go)
        flood.start()
        # The loop is busy.
        flood.join()
        assert gateway.counts["conversations_begun"] == most
        await until(lambda: gateway.conversations == gateway.counts["connections"] == 0)
        assert endpoint.stats.opens == 0
        assert numbers_in(await converse(gateway, 5)) == list(range(5))


async def test_a_large_message_passes_whole():
    async def measure(stream):
        async for message in stream:
            await stream.send(json.dumps({"type": "Size", "bytes": len(message)}))

    async with (
        LocalEndpoint(model=measure) as endpoint,
        gateway_to(endpoint) as gateway,
        connect(gateway, FILE) as socket,
    ):
        await socket.send(bytes(16 * MIB))
        assert json.loads(await socket.recv()) == {"type": "Size", "bytes": 16 * MIB}
