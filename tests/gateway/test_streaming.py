"""Clients' audio through the gateway: every chunk once, whatever breaks behind it."""

import asyncio
import json

import pytest
import websockets
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import AfterAudio, Drop, Fault, Reset
from gateway.clients import CLOSE_STREAM, connect, converse, gateway_to, numbers_in
from sessions import counted_chunk, until


async def test_every_chunk_arrives_once():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        messages = await converse(gateway, 200)
        assert numbers_in(messages) == list(range(200))
        assert json.loads(messages[-1])["type"] == "Metadata"
        assert gateway.stats.sessions == 1


@pytest.mark.parametrize("action", [Reset(), Drop()], ids=["reset", "drop"])
async def test_every_chunk_arrives_once_through_breaks(action):
    # Two breaks, each after a second of a leg's audio.
    fault = Fault(action, AfterAudio(1.0), legs=(1, 2))
    async with LocalEndpoint(faults=[fault]) as endpoint, gateway_to(endpoint) as gateway:
        messages = await converse(gateway, 200)
        assert numbers_in(messages) == list(range(200))
        assert sum(gateway.stats.resets.values()) == 2


async def test_connections_are_carried_side_by_side():
    async with LocalEndpoint() as endpoint, gateway_to(endpoint) as gateway:
        heard = await asyncio.gather(*(converse(gateway, 40 + n, pace=0.005) for n in range(10)))
        assert [numbers_in(each) for each in heard] == [list(range(40 + n)) for n in range(10)]
        assert gateway.counts["conversations_begun"] == 10


async def test_a_client_that_closes_leaves_nothing_behind():
    served = []
    async with (
        LocalEndpoint() as endpoint,
        gateway_to(endpoint, on_request=served.append) as gateway,
    ):
        async with connect(gateway) as socket:
            await socket.send(counted_chunk(0))
        await until(lambda: served)
        assert (served[0].by, served[0].close_code, served[0].messages_in) == ("client", 1000, 1)
        assert gateway.conversations == gateway.counts["conversations"] == 0
        await until(lambda: endpoint.stats.live_streams == 0)


async def test_a_connection_that_is_lost_leaves_nothing_behind():
    served = []
    async with (
        LocalEndpoint() as endpoint,
        gateway_to(endpoint, on_request=served.append) as gateway,
    ):
        socket = await connect(gateway)
        await socket.send(counted_chunk(0))
        socket.transport.abort()
        await until(lambda: served)
        assert (served[0].by, served[0].close_code) == ("lost", None)
        await until(lambda: endpoint.stats.live_streams == 0)


async def test_text_and_bytes_keep_their_kind_and_size():
    async def echo(stream):
        async for message in stream:
            if message == CLOSE_STREAM:
                return
            await stream.send(message)

    sent = ["grüezi", b"\0\xff", b"x" * 200_000, json.dumps({"type": "KeepAlive", "n": 1})]
    async with LocalEndpoint(model=echo) as endpoint, gateway_to(endpoint) as gateway:
        path = "/some/prefix/v1/custom/v1/listen"
        async with connect(gateway, path) as socket:
            for message in sent:
                await socket.send(message)
            assert [await socket.recv() for _ in range(3)] == sent[:3]


async def test_a_conversation_that_fails_says_why():
    async def refuse(stream):
        async for _ in stream:
            await stream.fail("1008", "DATA-0000: the audio cannot be decoded")

    async with LocalEndpoint(model=refuse) as endpoint, gateway_to(endpoint) as gateway:
        async with connect(gateway) as socket:
            await socket.send(counted_chunk(0))
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await socket.recv()
        assert caught.value.rcvd.code == 1008
        assert "DATA-0000" in caught.value.rcvd.reason
