"""The alternatives to our figures: the AWS SDK's own codec, and a ring in plain Python.

`core.rs` measures the same work in Rust; `summary.py` puts the two together.
"""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING, Any

from aws_sdk_sagemaker_runtime_http2.models import (
    RequestPayloadPart,
    RequestStreamEventPayloadPart,
    _ResponseStreamEventDeserializer,
)
from aws_sdk_signers import AsyncEventSigner, SigV4SigningProperties
from smithy_aws_core.identity import AWSCredentialsIdentity
from smithy_aws_event_stream.aio import AWSEventPublisher, AWSEventReceiver, SigningConfig
from smithy_aws_event_stream.events import EventHeaderEncoder, EventMessage
from smithy_core.aio.types import AsyncBytesReader
from smithy_json import JSONCodec

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pytest_benchmark.fixture import BenchmarkFixture

CHUNK = bytes(range(256)) * 2 + bytes(128)
"""20 ms of 16 kHz linear16."""
REPLY = b'{"type":"Results","words":"' + b"a" * 995 + b'"}'
"""A kilobyte of JSON."""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never waits, without an event loop's cost."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


class Sink:
    """Takes what is written."""

    def __init__(self) -> None:
        self.last = b""

    async def write(self, data: bytes) -> None:
        self.last = data


class Keys:
    """A resolver with the identity at hand."""

    async def get_identity(self, *, properties: object) -> AWSCredentialsIdentity:
        return AWSCredentialsIdentity(access_key_id="AKIDEXAMPLE", secret_access_key="secret")


def test_aws_sdk_encode_and_sign(benchmark: BenchmarkFixture) -> None:
    sink = Sink()
    publisher = AWSEventPublisher(
        payload_codec=JSONCodec(),
        async_writer=sink,
        signing_config=SigningConfig(
            signer=AsyncEventSigner(
                initial_signature=b"0" * 64, event_encoder_cls=EventHeaderEncoder
            ),
            signing_properties=SigV4SigningProperties(region="us-east-1", service="sagemaker"),
            identity_resolver=Keys(),
            identity_properties={},
        ),
    )

    def send() -> None:
        part = RequestPayloadPart(bytes_=CHUNK, data_type="BINARY")
        run(publisher.send(RequestStreamEventPayloadPart(part)))

    benchmark(send)
    assert CHUNK in sink.last


def test_aws_sdk_decode(benchmark: BenchmarkFixture) -> None:
    event = EventMessage(
        headers={
            ":message-type": "event",
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
            "DataType": "UTF8",
            "CompletionState": "COMPLETE",
        },
        payload=REPLY,
    ).encode()
    deserializer = _ResponseStreamEventDeserializer()

    def receive() -> Any:
        receiver = AWSEventReceiver(
            payload_codec=JSONCodec(),
            source=AsyncBytesReader(io.BytesIO(event)),
            deserializer=deserializer.deserialize,
        )
        return run(receiver.receive())

    assert benchmark(receive).value.bytes_ == REPLY


def test_python_ring_push_and_ack(benchmark: BenchmarkFixture) -> None:
    """The journal's work for a chunk, in Python: kept, counted, dropped when acked."""
    ring: deque[tuple[int, bytes]] = deque()
    end = 0

    def push_and_ack() -> None:
        nonlocal end
        end += len(CHUNK)
        ring.append((end, CHUNK))
        acked = end - 9 * len(CHUNK)
        while ring and ring[0][0] <= acked:
            ring.popleft()

    benchmark(push_and_ack)
    assert len(ring) == 9
