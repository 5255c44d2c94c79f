"""pipecat's client of a stream, over our sessions, against the local endpoint."""

import asyncio
import json
import time

import pytest
from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.errors import (
    AuthenticationError,
    RetriesExhaustedError,
    SageMakerError,
    ThrottledError,
    ValidationError,
)
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterAudio,
    AfterNewChunks,
    Answer,
    DelayAnswer,
    Fault,
    GoSilent,
    NeverAnswer,
    Reset,
)
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from sessions import counted_chunk, until

pytest.importorskip("pipecat.services", reason="pipecat is not installed: make test-pipecat")

from deepgram_sagemaker.pipecat import SageMakerBidiClient, SageMakerBidiSessionError
from deepgram_sagemaker.pipecat.client import services_for
from pipecat.services.aws.sagemaker import bidi_client as theirs

NOVA = {
    "model_invocation_path": "v1/listen",
    "model_query_string": "model=nova-3&encoding=linear16&sample_rate=16000",
}
FLUX = {
    "model_invocation_path": "v2/listen",
    "model_query_string": "model=flux-general-en&encoding=linear16&sample_rate=16000",
}
THROTTLED = Answer(400, "ThrottlingException", "Rate exceeded")
QUICK = {"initial_backoff": 0.01, "max_backoff": 0.02}


def client_for(endpoint, *, query=NOVA, attempts=None, **settings):
    config = endpoint.config(**QUICK | settings)
    return SageMakerBidiClient(config=config, max_connect_attempts=attempts, **query)


async def heard_by(client, payloads=None):
    """The payloads up to the end of the session, and the types of their parts."""
    payloads, kinds = [] if payloads is None else payloads, set()
    while (part := await client.receive_response()) is not None:
        payloads.append(json.loads(part.value.bytes_))
        kinds.add(part.value.data_type)
    return payloads, kinds


def numbers(payloads):
    finals = [each for each in payloads if each.get("is_final")]
    texts = [each["channel"]["alternatives"][0]["transcript"] for each in finals]
    return [int(word) for text in texts for word in text.split()]


async def test_a_conversation_over_broken_streams_is_one_session():
    fault = Fault(Reset(), when=AfterNewChunks(25), times=None)
    with LocalEndpoint(faults=[fault]) as endpoint:
        client = client_for(endpoint)
        await client.start_session()
        assert client.is_active
        # The stream is open, though nothing has been sent.
        assert len(endpoint.legs) == 1
        hearing = asyncio.create_task(heard_by(client))
        for number in range(100):
            await client.send_audio_chunk(counted_chunk(number))
            await asyncio.sleep(0.004)
        await client.send_json({"type": "CloseStream"})
        payloads, kinds = await hearing
        assert numbers(payloads) == list(range(100))
        assert payloads[-1]["type"] == "Metadata"
        assert kinds == {"UTF8"}
        assert client.stats.sessions == 1
        assert client.stats.resets == {"reset": len(endpoint.legs) - 1}
        assert len(endpoint.legs) >= 3
        await client.close_session()
        assert not client.is_active
        # What was counted is still there.
        assert client.stats.sessions == 1


@pytest.mark.parametrize("way", ["text", "data"])
async def test_text_goes_as_text_and_audio_comes_as_audio(way):
    speak = json.dumps({"type": "Speak", "text": "1 2 3"})
    query = {
        "model_invocation_path": "v1/speak",
        "model_query_string": "model=aura-2-thalia-en&encoding=linear16&sample_rate=24000",
    }
    with LocalEndpoint() as endpoint:
        client = client_for(endpoint, query=query)
        await client.start_session()
        if way == "text":
            await client.send_text(speak)
        else:
            await client.send_data(speak.encode(), data_type="UTF8")
        await client.send_json({"type": "Flush"})
        parts = []
        while not parts or parts[-1].data_type != "UTF8" or b"Flushed" not in parts[-1].bytes_:
            parts.append((await client.receive_response()).value)
        audio = [each for each in parts if each.data_type == "BINARY"]
        assert audio
        assert all(len(each.bytes_) % 2 == 0 for each in audio)
        await client.close_session()
        assert endpoint.legs[0].controls == ("Speak", "Flush", "Close")


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (Answer(403, "AccessDeniedException", "not authorized"), 403, "AccessDeniedException"),
        (Answer(400, "ValidationException", "Endpoint x not found"), 400, "ValidationException"),
    ],
)
async def test_what_is_permanent_is_raised_at_once(refusal, status, code):
    with LocalEndpoint(faults=[Fault(refusal, times=None)]) as endpoint:
        client = client_for(endpoint)
        with pytest.raises(SageMakerBidiSessionError, match=code) as raised:
            await client.start_session()
        assert len(endpoint.legs) == 1
    error = raised.value
    assert (error.error_id, error.http_status, error.attempts) == (code, status, 1)
    # As both packages have it.
    assert isinstance(error, SageMakerError)
    assert isinstance(error, RuntimeError)
    assert isinstance(error, getattr(theirs, "SageMakerBidiSessionError", RuntimeError))
    assert isinstance(error.__cause__, SageMakerError)
    assert (error.status, error.code, error.reason) == (status, code, error.__cause__.reason)
    assert not client.is_active
    with pytest.raises(RuntimeError, match="not active"):
        await client.send_audio_chunk(b"\0\0")


async def test_throttling_is_retried():
    with LocalEndpoint(faults=[Fault(THROTTLED, times=2)]) as endpoint:
        client = client_for(endpoint)
        await client.start_session()
        assert client.is_active
        assert len(endpoint.legs) == 3
        await client.close_session()


@pytest.mark.parametrize("attempts", [1, 3])
async def test_attempts_have_a_limit(attempts):
    with LocalEndpoint(faults=[Fault(THROTTLED, times=None)]) as endpoint:
        client = client_for(endpoint, attempts=attempts)
        assert client.max_connect_attempts == attempts
        with pytest.raises(SageMakerBidiSessionError) as raised:
            await client.start_session()
        assert len(endpoint.legs) == attempts
    error = raised.value
    assert (error.error_id, error.http_status) == ("ThrottlingException", 400)
    assert error.attempts == attempts
    assert isinstance(error.__cause__, ThrottledError if attempts == 1 else RetriesExhaustedError)


@pytest.mark.parametrize(
    "query",
    [
        {"model_invocation_path": "v1/listen", "model_query_string": "a b=1"},
        {"model_invocation_path": "", "model_query_string": ""},
        {"model_invocation_path": None, "model_query_string": None},
    ],
)
async def test_a_query_that_cannot_be_sent_is_raised_by_the_start(query):
    client = SageMakerBidiClient("endpoint", "us-east-1", **query)
    with pytest.raises(SageMakerBidiSessionError) as raised:
        await client.start_session()
    assert isinstance(raised.value.__cause__, ValidationError)
    assert not client.is_active


async def test_nothing_works_before_the_start():
    client = SageMakerBidiClient("endpoint", "us-east-1", **NOVA)
    assert not client.is_active
    with pytest.raises(RuntimeError, match="not active"):
        await client.send_audio_chunk(b"\0\0")
    with pytest.raises(RuntimeError, match="not active"):
        await client.receive_response()
    await client.close_session()


async def test_what_is_sent_while_the_stream_opens_is_kept():
    with LocalEndpoint(faults=[Fault(DelayAnswer(0.3), legs=1)]) as endpoint:
        client = client_for(endpoint)
        starting = asyncio.create_task(client.start_session())
        await asyncio.sleep(0)
        assert client.is_active
        for number in range(20):
            await client.send_audio_chunk(counted_chunk(number))
        await starting
        await client.send_json({"type": "CloseStream"})
        payloads, _ = await heard_by(client)
        assert numbers(payloads) == list(range(20))
        await client.close_session()


async def test_a_session_that_fails_gives_its_messages_first():
    faults = [
        Fault(Reset(), when=AfterAudio(0.61), legs=1),
        Fault(Answer(403, "AccessDeniedException"), legs=(2, 9), times=None),
    ]
    with LocalEndpoint(faults=faults) as endpoint:
        client = client_for(endpoint)
        await client.start_session()
        for number in range(40):
            await client.send_audio_chunk(counted_chunk(number))
            await asyncio.sleep(0.3 if number == 20 else 0)
        await until(lambda: len(endpoint.legs) > 1)
        await asyncio.sleep(0.1)
        payloads = []
        with pytest.raises(AuthenticationError):
            await heard_by(client, payloads)
        # What came before the reset, a further final perhaps among it.
        assert len(numbers(payloads)) in (20, 30)
        assert numbers(payloads) == list(range(len(numbers(payloads))))
        assert not client.is_active
        with pytest.raises(RuntimeError, match="not active"):
            await client.receive_response()


@pytest.mark.parametrize("when", ["opening", "throttled"])
async def test_a_start_that_is_cancelled_leaves_nothing(when):
    action = NeverAnswer() if when == "opening" else THROTTLED
    with LocalEndpoint(faults=[Fault(action, times=None)]) as endpoint:
        client = client_for(endpoint, attempts=1000)
        before = asyncio.all_tasks()
        starting = asyncio.create_task(client.start_session())
        await asyncio.sleep(0.1)
        began = time.monotonic()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert time.monotonic() - began < 2
        assert not client.is_active
        assert asyncio.all_tasks() == before


async def test_a_session_can_be_started_again():
    with LocalEndpoint() as endpoint:
        client = client_for(endpoint)
        for _ in range(2):
            await client.start_session()
            await client.start_session()  # it is open: nothing happens
            await client.send_audio_chunk(counted_chunk(7))
            await client.send_json({"type": "CloseStream"})
            await client.send_json({"type": "CloseStream"})
            payloads, _ = await heard_by(client)
            assert numbers(payloads) == [7]
            assert await client.receive_response() is None
            await client.close_session()
            await client.close_session()
        assert len(endpoint.legs) == 2
        assert client.stats.sessions == 2


async def test_closing_does_not_wait_for_what_nobody_reads():
    with LocalEndpoint(faults=[Fault(GoSilent(), when=AfterAudio(0.1))]) as endpoint:
        client = client_for(endpoint)
        await client.start_session()
        waiting = asyncio.create_task(client.receive_response())
        for number in range(20):
            await client.send_audio_chunk(counted_chunk(number))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await client.close_session()
        assert time.monotonic() - began < 3
        assert await waiting is None


@pytest.mark.parametrize("reads", [True, False])
async def test_a_session_that_ended_idle_is_followed_by_another(reads):
    # Flux closes a stream in which nothing is sent; a muted microphone is enough.
    with LocalEndpoint(model=WatermarkFlux(silence_timeout=9.5)) as endpoint:
        client = client_for(endpoint, query=FLUX)
        await client.start_session()
        payloads = []

        async def hear():
            while (part := await client.receive_response()) is not None:
                payloads.append(json.loads(part.value.bytes_))

        hearing = asyncio.create_task(hear()) if reads else None
        await asyncio.sleep(10.5)
        assert client.is_active
        for number in range(60):
            await client.send_audio_chunk(counted_chunk(number))
        await client.send_json({"type": "CloseStream"})
        await (hearing or hear())
        ends = [each["transcript"] for each in payloads if each.get("event") == "EndOfTurn"]
        assert ends == [" ".join(map(str, range(50)))]
        assert len(endpoint.legs) == 2
        assert client.stats.sessions == 2
        await client.close_session()


async def test_a_session_that_ended_idle_can_be_closed():
    with LocalEndpoint(model=WatermarkFlux(silence_timeout=9.5)) as endpoint:
        client = client_for(endpoint, query=FLUX)
        await client.start_session()
        hearing = asyncio.create_task(heard_by(client))
        await asyncio.sleep(10.5)
        assert not hearing.done()
        await client.send_json({"type": "CloseStream"})
        async with asyncio.timeout(2):
            await hearing
        await client.close_session()
        assert len(endpoint.legs) == 1


def test_equal_settings_share_what_they_can():
    first = services_for(SageMakerConfig("one", "us-east-1"))
    assert services_for(SageMakerConfig("one", "us-east-1")) is first
    assert services_for(SageMakerConfig("two", "us-east-1")) is not first
    assert services_for(SageMakerConfig("one", "us-east-1", max_retries=1)) is not first

    class Session:
        def get_credentials(self):
            return None

    of_another = SageMakerConfig("one", "us-east-1", boto3_session=Session())
    assert services_for(of_another) is not first
    # A region that was given is not one that was not.
    default = services_for(SageMakerConfig("one"))
    assert services_for(SageMakerConfig("one", "us-west-2")) is not default


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({}, TypeError, "an endpoint is needed"),
        ({"config": "one"}, TypeError, "takes a SageMakerConfig, not str"),
        ({"endpoint_name": "no name"}, ValueError, "endpoint_name='no name'"),
        (
            {"endpoint_name": "two", "config": SageMakerConfig("one")},
            ValueError,
            "'two' is not that of config=, 'one'",
        ),
        (
            {"region": "eu-west-1", "config": SageMakerConfig("one")},
            ValueError,
            "'eu-west-1' is not that of config=, 'us-west-2'",
        ),
    ],
)
def test_arguments_that_say_nothing_or_two_things(arguments, error, words):
    with pytest.raises(error, match=words):
        SageMakerBidiClient(**arguments)


def test_arguments_as_pipecat_has_them():
    client = SageMakerBidiClient("one", "eu-west-1", "v1/listen", "model=nova-3", 2)
    assert (client.endpoint_name, client.region) == ("one", "eu-west-1")
    assert (client.model_invocation_path, client.model_query_string) == (
        "v1/listen",
        "model=nova-3",
    )
    assert client.config.max_retries == 1
    given = SageMakerConfig("one", region="eu-west-1", retry_budget=7)
    assert SageMakerBidiClient("one", "eu-west-1", config=given).config is given
    assert SageMakerBidiClient("one").region == "us-west-2"
