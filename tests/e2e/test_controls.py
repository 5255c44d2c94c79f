"""Control messages over sockets: those that come as bytes, and those that are not taken."""

import json
import logging

import pytest
from deepgram.listen.v2.types import ListenV2Configure
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import Fault, OnMessage, Reset
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from e2e import flux, survival
from e2e.matrix import impatient
from e2e.survival import LINEAR16

LISTEN = "wss://localhost/v1/listen?encoding=linear16&sample_rate=16000"
CLOSE = b' {"type": "CloseStream"}\n'


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize("as_bytes", [bytes, bytearray, memoryview])
async def test_control_in_bytes_is_control(as_bytes):
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config())
        transport = factory(LISTEN, {})
        await transport.send(chunk(0, 640))
        await transport.send(chunk(1, 640))
        await transport.send(as_bytes(b'{"type":"Finalize"}'))
        # The beginning of a message is not a message, and neither is one of another product.
        await transport.send(as_bytes(b'{"type":"Close'))
        await transport.send(as_bytes(CLOSE))
        messages = [json.loads(message) async for message in transport]
        await transport.close()
        (leg,) = endpoint.legs
    assert leg.controls == ("Finalize", "CloseStream")
    assert messages[-1]["type"] == "Metadata"
    assert factory.stats.bytes_sent == 1280 + 14
    assert factory.stats.resets == {}


def configure(threshold):
    message = ListenV2Configure(thresholds={"eot_threshold": threshold})
    return lambda connection: connection.send_configure(message)


@pytest.mark.patience(30)
@pytest.mark.parametrize("model", ["watermark", "own"])
async def test_a_flux_that_takes_no_message_keeps_its_conversation(model, caplog):
    chunks = 220
    at = {70: configure(0.8), 120: lambda connection: connection.send_force_end_turn()}
    own = WatermarkFlux(turn=flux.TURN, strict=True) if model == "own" else None
    options = {"model": own} if own else {"strict_flux": True}
    async with LocalEndpoint(**options) as endpoint:
        told = await flux.converse(impatient(endpoint), LINEAR16, chunks, at=at)
        legs = endpoint.legs
    (first, second) = told.of("Error")
    assert first.code == second.code == "UNPARSABLE_CLIENT_MESSAGE"
    told.messages = [message for message in told.messages if message.type != "Error"]
    assert told.errors == []
    words = [int(word) for end in told.ends for word in end.transcript.split()]
    assert words == list(range(200))
    sent = [leg.controls for leg in legs]
    assert sent == [("Configure",), ("ForceEndTurn",), ("CloseStream",)]
    said = [line for line in warnings(caplog) if "does not take" in line]
    assert len(said) == 2
    assert "a Configure message" in said[0]
    assert "a ForceEndTurn message" in said[1]


@pytest.mark.patience(30)
async def test_a_message_that_breaks_every_leg_is_left_out_in_the_end(caplog):
    fault = Fault(Reset(), when=OnMessage("Configure"), times=None)
    at = {70: configure(0.8)}
    model = WatermarkFlux(turn=flux.TURN)
    async with LocalEndpoint(model=model, faults=[fault]) as endpoint:
        config = impatient(endpoint, max_retries=3)
        told = await flux.converse(config, LINEAR16, 220, at=at)
        legs = endpoint.legs
    assert told.errors == []
    words = [int(word) for end in told.ends for word in end.transcript.split()]
    assert words == list(range(200))
    assert sum("Configure" in leg.controls for leg in legs) <= 5
    assert len([line for line in warnings(caplog) if "does not take" in line]) == 1


@pytest.mark.patience(30)
async def test_a_mistyped_message_on_v1_listen_costs_nothing_else(caplog):
    async def mistype(connection):
        await connection._websocket.send('{"type":"Finalise"}')

    async with LocalEndpoint() as endpoint:
        heard = await survival.converse(
            impatient(endpoint), LINEAR16, 60, middle=mistype, pace=0.002
        )
    survival.assert_whole(heard, LINEAR16, 60)
    assert any("a message of unknown type" in line for line in warnings(caplog))


async def told_by(model):
    """The messages that an application gets from a model of its own on `v1/listen`."""
    async with LocalEndpoint(model=model) as endpoint:
        transport = SageMakerTransportFactory(config=endpoint.config())(LISTEN, {})
        await transport.send(chunk(0, 640))
        await transport.send('{"type":"CloseStream"}')
        messages = [json.loads(message) async for message in transport]
        await transport.close()
    return messages


async def test_an_error_that_the_stream_outlives_is_told_where_it_came(caplog):
    error = {"type": "Error", "variant": "SchemaError", "description": "no"}
    result = {"type": "Results", "start": 0.0, "duration": 0.02, "is_final": True}

    async def model(stream):
        async for message in stream:
            if isinstance(message, bytes):
                for said in (error, result, error):
                    await stream.send(json.dumps(said))
            else:
                return

    assert await told_by(model) == [error, result, error]
    assert len([line for line in warnings(caplog) if "Error message" in line]) == 1
