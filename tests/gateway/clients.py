"""Clients of a gateway: WebSockets of other people's, and bytes by hand."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import struct

import websockets
from deepgram_sagemaker.gateway import Gateway
from sessions import counted_chunk

LISTEN = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
CLOSE_STREAM = json.dumps({"type": "CloseStream"})


@contextlib.asynccontextmanager
async def gateway_to(endpoint, **settings):
    """A gateway on a free port, in front of a local endpoint."""
    # A busy machine takes its time to find out that an opening is refused.
    settings = {"open_wait": 10.0} | settings
    async with Gateway(config=endpoint.config(), port=0, **settings) as gateway:
        yield gateway


def connect(gateway, path=LISTEN, **options):
    """Opens a WebSocket as an application does."""
    return websockets.connect(gateway.url + path, compression=None, max_size=None, **options)


def numbers_in(messages):
    """The numbers of the chunks that final results have, in order."""
    texts = (json.loads(each) for each in messages if isinstance(each, str))
    return [
        int(word)
        for text in texts
        if text.get("type") == "Results" and text["is_final"]
        for word in text["channel"]["alternatives"][0]["transcript"].split()
    ]


async def converse(gateway, chunks=50, *, pace=None, **options):
    """Streams counted chunks, closes the stream in order, and returns what came until the end."""
    async with connect(gateway, **options) as client:
        hearing = asyncio.create_task(hear(client))
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(chunks):
            await client.send(counted_chunk(number))
            if pace is not None:
                await asyncio.sleep(began + (number + 1) * pace - loop.time())
        await client.send(CLOSE_STREAM)
        messages = await hearing
    assert client.close_code == 1000, (client.close_code, client.close_reason)
    return messages


async def hear(client):
    """Returns every message up to the end."""
    messages = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            messages.append(await client.recv())
    return messages


class Raw:
    """A WebSocket by hand: it sends what no client would."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, gateway, path=LISTEN, *, headers=(), method="GET", version="13", kept=None):
        """Sends a handshake; `kept`: bytes that the system keeps of what is not read."""
        connected = socket.socket()
        connected.setblocking(False)
        if kept is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, kept)
        await asyncio.get_running_loop().sock_connect(connected, gateway.address)
        raw = cls(*await asyncio.open_connection(sock=connected))
        key = base64.b64encode(os.urandom(16)).decode()
        await raw.write(
            f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Version: {version}\r\n"
            + "".join(f"{each}\r\n" for each in headers)
            + "\r\n"
        )
        return raw

    async def write(self, data):
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def head(self):
        """Returns the status and the headers of the answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value for name, value in pairs}

    async def accepted(self):
        status, _ = await self.head()
        assert status == 101
        return self

    async def body(self, headers):
        return json.loads(await self.reader.readexactly(int(headers["content-length"])))

    async def frame(self):
        """Returns the next frame's first byte and payload; None at the end."""
        try:
            first, length = await self.reader.readexactly(2)
            assert not length & 0x80, "a server does not mask"
            if length == 126:
                (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
            return first, await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionResetError):
            return None

    async def control(self, opcode):
        """Returns the payload of the next frame of a kind; None at the end."""
        while (frame := await self.frame()) is not None:
            if frame[0] & 0x0F == opcode:
                return frame[1]
        return None

    async def closed(self):
        """Returns the close code that the gateway sends; None: it sends none."""
        payload = await self.control(8)
        return None if payload is None else struct.unpack(">H", payload[:2])[0]

    async def leave(self):
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def framed(payload=b"", opcode=2, *, final=True, reserved=0, mask=b"\1\2\3\4", length=None):
    """Returns a frame's bytes; `length`: what it claims."""
    first = (0x80 if final else 0) | reserved | opcode
    size = len(payload) if length is None else length
    masked = 0x80 if mask else 0
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 2**16:
        head = bytes((first, masked | 126)) + struct.pack(">H", size)
    else:
        head = bytes((first, masked | 127)) + struct.pack(">Q", size)
    if mask:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return head + (mask or b"") + payload
