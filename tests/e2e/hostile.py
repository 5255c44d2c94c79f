"""A hostile server: TLS and HTTP/2 by hand, frame by frame.

It keeps the protocol only where a script wants it to. What it always keeps is flow control: without
credit nothing of a DATA frame is sent, so that whatever a client holds is held with its consent.
"""

import asyncio
import contextlib
import ssl
import struct
from pathlib import Path

import boto3
from deepgram_sagemaker import SageMakerConfig
from e2e.by_hand import STRING, encoded
from servers import serving

# Its key is in this repository and it is self-signed, so only these tests trust it.
CERTIFICATE = Path(__file__).with_name("hostile.pem")

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR = 0, 1, 2
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 7, 8, 11

STREAM = 1
"""A client's first stream."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

OK = b"\x88"
"""`:status: 200`, by its place in HPACK's table."""

MOST = 16384
"""The most that a frame carries unless a client allows more."""


def frame(kind, payload=b"", *, flags=0, stream=STREAM):
    """One frame."""
    head = struct.pack(">I", len(payload))[1:]
    return head + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _string(text):
    """HPACK's, without Huffman."""
    length = len(text)
    if length < 127:
        return bytes([length]) + text
    out = bytearray([127])
    length -= 127
    while length >= 128:
        out.append(length % 128 + 128)
        length //= 128
    return bytes(out) + bytes([length]) + text


def field(name, value):
    """One header that enters no table."""
    return b"\x00" + _string(name.encode()) + _string(value.encode())


def status(code):
    """`:status`, by the table's name for it."""
    return b"\x08" + _string(str(code).encode())


def headers(block=OK, *, end=False, stream=STREAM):
    """An answer's headers in one frame."""
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(HEADERS, block, flags=flags, stream=stream)


def reset(code=NO_ERROR, stream=STREAM):
    """RST_STREAM."""
    return frame(RST_STREAM, struct.pack(">I", code), stream=stream)


def goaway(last=STREAM, code=NO_ERROR):
    """GOAWAY."""
    return frame(GOAWAY, struct.pack(">II", last, code), stream=0)


def event(payload=b"", *, kind="PayloadPart", text=True, partial=False, more=()):
    """An event of the service; `more` are further headers."""
    named = [
        (b":message-type", b"event"),
        (b":event-type", kind.encode()),
        (b":content-type", b"application/octet-stream"),
        (b"DataType", b"UTF8" if text else b"BINARY"),
        (b"CompletionState", b"PARTIAL" if partial else b"COMPLETE"),
        *more,
    ]
    return encoded([(name, STRING, value) for name, value in named], payload)


def exception(kind, body):
    """An exception inside a stream."""
    named = [
        (b":message-type", b"exception"),
        (b":exception-type", kind.encode()),
        (b":content-type", b"application/json"),
    ]
    return encoded([(name, STRING, value) for name, value in named], body)


class Stream:
    """A client's request, as a script answers it."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer
        # HTTP/2's initial values.
        self._initial = 65535
        self._credit = {0: 65535}
        self._changed = asyncio.Event()
        self._requested = asyncio.Event()
        self.gone = asyncio.Event()
        self.sent = 0
        """Bytes of DATA, padding included."""

    async def read(self):
        """Reads the client's frames until it goes away."""
        try:
            await self._reader.readexactly(len(PREFACE))
            while True:
                await self._frame()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.gone.set()
            self._changed.set()
            self._requested.set()

    async def _frame(self):
        head = await self._reader.readexactly(9)
        payload = await self._reader.readexactly(int.from_bytes(head[:3]))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
        if kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack_from(">HI", payload, at)
                if name == 4:
                    self._initial = value
            self._writer.write(frame(SETTINGS, flags=ACK, stream=0))
        elif kind == HEADERS:
            self._credit.setdefault(stream, 0)
            self._credit[stream] += self._initial
            self._requested.set()
        elif kind == DATA and payload:
            # The client's output gets credit unread: the script does not depend on it.
            credit = struct.pack(">I", len(payload))
            for of in (0, stream):
                self._writer.write(frame(WINDOW_UPDATE, credit, stream=of))
        elif kind == WINDOW_UPDATE:
            (credit,) = struct.unpack(">I", payload)
            self._credit[stream] = self._credit.get(stream, 0) + credit
            self._changed.set()

    async def requested(self):
        """Waits for the request."""
        await self._requested.wait()
        self._alive()

    def _alive(self):
        if self.gone.is_set() or self._writer.is_closing():
            raise ConnectionResetError

    async def write(self, *frames):
        """Writes frames other than DATA."""
        self._alive()
        self._writer.write(b"".join(frames))
        await self._drain()

    async def _drain(self):
        await self._writer.drain()
        # The write may not let the loop run, and the reader has to notice a client that is gone.
        await asyncio.sleep(0)
        self._alive()

    async def _wait_for_credit(self, wanted):
        while min(self._credit[0], self._credit.get(STREAM, 0)) < wanted:
            self._changed.clear()
            await self._changed.wait()
            self._alive()

    async def data(self, payload, *, size=MOST, padding=0, end=False):
        """Sends DATA in frames of one size, each with `padding`, as flow control allows."""
        pad = bytes(padding)
        for at in range(0, len(payload) or 1, size):
            part = payload[at : at + size]
            flags = END_STREAM if end and at + size >= len(payload) else 0
            if padding:
                part, flags = bytes([padding]) + part + pad, flags | PADDED
            await self._wait_for_credit(len(part))
            self._alive()
            for stream in (0, STREAM):
                self._credit[stream] -= len(part)
            self._writer.write(frame(DATA, part, flags=flags))
            self.sent += len(part)
            if at % (1 << 16) < size:
                await self._drain()
        await self._drain()


class Hostile:
    """A server that runs a script for each request.

    Attributes:
        connections: TLS connections that were made: each is an opening of a client's.
        requests: requests that came.
        streams: all of them.
        most: the most connections at once of which no request had come.
    """

    def __init__(self, script, *, greeting=True):
        self._script = script
        self._greeting = greeting
        self._stack = contextlib.AsyncExitStack()
        self._fresh = 0
        self.connections = 0
        self.requests = 0
        self.most = 0
        self.streams = []

    async def __aenter__(self):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(CERTIFICATE)
        tls.set_alpn_protocols(["h2"])
        self.port = await self._stack.enter_async_context(
            serving(self._serve, tls=tls, backlog=1024, limit=1 << 20)
        )
        return self

    async def __aexit__(self, *_):
        await self._stack.aclose()

    async def _serve(self, reader, writer):
        self.connections += 1
        self._fresh += 1
        self.most = max(self.most, self._fresh)
        stream = Stream(reader, writer)
        self.streams.append(stream)
        reading = asyncio.create_task(stream.read())
        try:
            if self._greeting:
                await stream.write(frame(SETTINGS, stream=0))
                await stream.requested()
                self.requests += 1
            self._fresh -= 1
            await self._script(stream)
        finally:
            reading.cancel()

    def where(self):
        """The settings of a client, as plain data for another process."""
        return {
            "endpoint_name": "hostile",
            "region": "us-east-1",
            "endpoint_uri": f"https://127.0.0.1:{self.port}",
            "ca_bundle": str(CERTIFICATE),
            "proxy": "",
        }

    def config(self, **fields):
        """Settings of a transport that reaches it."""
        return SageMakerConfig(**self.where() | {"boto3_session": session()} | fields)


def session():
    """Keys that are not checked."""
    return boto3.Session(aws_access_key_id="AKIDHOSTILE", aws_secret_access_key="secret")
