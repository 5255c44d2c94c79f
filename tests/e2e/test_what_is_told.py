"""Nothing of a conversation and no key is in anything that the package tells, whatever happens."""

import asyncio
import json
import logging

import pytest
from deepgram_sagemaker import SageMakerTransportFactory, events
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.local import Credentials, Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterMessages,
    AfterReplies,
    Answer,
    InBandException,
    Malformed,
    Reset,
)
from deepgram_sagemaker.otel import Telemetry
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SAID = {
    "heard": "transcriptword",
    "interim": "interimword",
    "error": "errorword",
    "sent": "sentword",
    "keyterm": "keytermword",
    "tag": "tagword",
    "audio": "audioword",
}
"""Words of the conversation and values of the query, by where they come from."""

KEYS = {
    "secret": "SecretAccessKey0123456789abcdefghijklmno",
    "token": "SessionToken0123456789abcdefghijklmnopqrstuvwxyz",
    "id": "AKIDSECRETIDENTITY00",
}
URL = (
    "wss://api.deepgram.com/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000"
    f"&keyterm={SAID['keyterm']}&keyterm=two%20{SAID['keyterm']}&tag={SAID['tag']}"
)


def result(word, *, is_final, start=0.0):
    alternative = {"transcript": word, "confidence": 1.0, "words": []}
    return json.dumps(
        {
            "type": "Results",
            "channel_index": [0, 1],
            "start": start,
            "duration": 0.02,
            "is_final": is_final,
            "speech_final": False,
            "channel": {"alternatives": [alternative]},
        }
    )


async def model(stream):
    """Answers each chunk with words, and a message that it does not know with an error."""
    end = 0.0
    async for message in stream:
        if message == '{"type": "CloseStream"}':
            await stream.send('{"type":"Metadata","duration":1.0,"channels":1}')
            return
        if isinstance(message, str):
            said = {"type": "Error", "description": SAID["error"], "message": message}
            await stream.send(json.dumps(said))
            continue
        await stream.send(result(SAID["interim"], is_final=False, start=end))
        await stream.send(result(SAID["heard"], is_final=True, start=end))
        end += 0.02


class Told:
    """Everything that the package tells of what happens."""

    def __init__(self):
        self.events = []
        self.records = []
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def by_place(self, *shown):
        ours, others = [], []
        for each in self.records:
            (ours if each.name.startswith("deepgram_sagemaker") else others).append(each)
        return {
            "events": "".join(map(repr, self.events)),
            "log": "".join(f"{each.getMessage()} {vars(each)!r}" for each in ours),
            "other logs": "".join(f"{each.getMessage()} {vars(each)!r}" for each in others),
            "spans": "".join(span.to_json() for span in self._spans.get_finished_spans()),
            "metrics": self._reader.get_metrics_data().to_json(),
            "figures": "".join(map(repr, shown)),
        }


@pytest.fixture
def told():
    told = Told()
    handler = logging.Handler(logging.DEBUG)
    handler.emit = told.records.append
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield told
    root.removeHandler(handler)
    root.setLevel(before)
    told.tracers.shutdown()
    told.meters.shutdown()


FIRST = [
    Fault(Reset(), when=AfterMessages(10), legs=1),
    Fault(Answer(403, "AccessDeniedException", "no"), legs=2),
]
SECOND = [
    Fault(Malformed("unknown_event"), when=AfterMessages(3), legs=1),
    Fault(Answer(429, "ThrottlingException", "slow down"), legs=2),
    Fault(InBandException("ThrottlingException", "slow down"), when=AfterReplies(20), legs=1),
    Fault(InBandException("ExpiredTokenException", "old"), when=AfterReplies(20), legs=3),
]


def found(places):
    """Where which of the secrets is."""
    return [
        (place, kind)
        for place, text in places.items()
        for kind, secret in (SAID | KEYS).items()
        if secret in text
    ]


async def test_nothing_told_has_content_or_keys(told):
    keys = Credentials(
        access_key_id=KEYS["id"], secret_access_key=KEYS["secret"], session_token=KEYS["token"]
    )
    heard = []
    async with (
        LocalEndpoint("first", model, faults=FIRST, credentials=keys) as first,
        LocalEndpoint(
            "second", model, faults=SECOND, credentials=keys, region="us-west-2"
        ) as second,
    ):
        config = first.config(fallbacks=[second.as_fallback()], initial_backoff=0.01)
        factory = SageMakerTransportFactory(
            config=config, on_event=told.events.append, telemetry=told.telemetry
        )
        transport = factory(URL, {"Authorization": "Token unused"})

        async def read():
            heard.extend([message async for message in transport])

        reading = asyncio.create_task(read())
        audio = (SAID["audio"].encode() * 80)[:640]
        await transport.send({"type": "Future", "text": SAID["sent"]})
        try:
            for _ in range(40):
                await transport.send(audio)
                await asyncio.sleep(0.01)
            await transport.send({"type": "CloseStream"})
            await reading
        except SageMakerError as error:
            heard.append(repr(error))
        await transport.close()
        shown = (transport, factory, factory.stats, config, transport.stats)
        places = told.by_place(*shown)
    # It was a conversation, and things happened in it.
    assert SAID["heard"] in "".join(heard)
    kinds = {type(event) for event in told.events}
    assert kinds >= {
        events.LegOpenFailed,
        events.LegEnded,
        events.Resumed,
        events.EndpointChanged,
        events.EndpointAvoided,
        events.UnknownEventSkipped,
        events.ErrorOutlived,
        events.FirstResult,
        events.SessionEnded,
    }
    assert "leg_ended" in places["log"]
    assert "session v1/listen" in places["spans"]
    assert "deepgram_sagemaker.audio.sent.size" in places["metrics"]
    assert found(places) == []


@pytest.mark.parametrize(
    ("status", "name"),
    [(400, "ValidationException"), (403, "AccessDeniedException"), (424, "ModelError")],
)
async def test_a_refusal_that_repeats_the_request_is_for_the_error_alone(told, status, name):
    """The application gets the service's words. What is told has the reason."""
    words = f"1 validation error: Value 'keyterm={SAID['keyterm']}&tag={SAID['tag']}' is wrong"
    async with LocalEndpoint(faults=[Fault(Answer(status, name, words), times=None)]) as endpoint:
        config = endpoint.config(max_retries=1, initial_backoff=0.01)
        factory = SageMakerTransportFactory(
            config=config, on_event=told.events.append, telemetry=told.telemetry
        )
        transport = factory(URL)
        with pytest.raises(SageMakerError, match=SAID["keyterm"]):
            await transport.open()
        await transport.close()
    places = told.by_place(transport, factory, factory.stats, transport.stats)
    assert any(isinstance(event, events.LegOpenFailed) for event in told.events)
    assert f"{status}" in places["spans"]
    assert found(places) == []
