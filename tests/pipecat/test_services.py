"""pipecat's services in pipelines, against the local endpoint: broken streams change nothing."""

import asyncio
import time
from importlib import metadata

import pytest
from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterAudio,
    AfterNewChunks,
    AfterReplies,
    Answer,
    DelayAnswer,
    Fault,
    GoSilent,
    Reset,
)
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux

pytest.importorskip("pipecat.services", reason="pipecat is not installed: make test-pipecat")

from deepgram_sagemaker import pipecat as ours
from deepgram_sagemaker.pipecat import services
from pipecat.frames.frames import (
    BotStoppedSpeakingFrame,
    CancelFrame,
    InterruptionFrame,
    STTUpdateSettingsFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSUpdateSettingsFrame,
)
from pipelines import run
from sessions import until

RELEASE = tuple(int(part) for part in metadata.version("pipecat-ai").split(".")[:2])
HAS_FLUX_TTS = RELEASE >= (1, 8)
KNOWS_PERMANENT = RELEASE >= (1, 8)

QUICK = {"initial_backoff": 0.01, "max_backoff": 0.05, "replay_speed": None}
DENIED = Answer(403, "AccessDeniedException", "not authorized")
THROTTLED = Answer(400, "ThrottlingException", "Rate exceeded")

FLUX_TTS = pytest.param(
    "DeepgramFluxSageMakerTTSService",
    marks=pytest.mark.skipif(not HAS_FLUX_TTS, reason="pipecat has it from 1.8 on"),
)
HEARING = ["DeepgramSageMakerSTTService", "DeepgramFluxSageMakerSTTService"]
SPEAKING = ["DeepgramSageMakerTTSService", FLUX_TTS]

HEARD = 230
"""Chunks of 20 ms: four turns of Flux, and an open one."""
SPOKEN = [" ".join(map(str, range(10 * turn, 10 * turn + 10))) for turn in range(6)]


@pytest.mark.skipif(RELEASE < (1, 14), reason="pipecat ends open turns itself in later releases")
def test_pipecat_still_names_what_ends_an_open_turn():
    assert services._ENDS_OPEN_TURNS


def endpoint_for(name, *faults):
    """An endpoint of the service's product."""
    models = {
        "DeepgramFluxSageMakerSTTService": WatermarkFlux(),
        "DeepgramSageMakerTTSService": WatermarkAura(flushes=1000, pace=10.0),
        "DeepgramFluxSageMakerTTSService": WatermarkAura(flushes=1000, pace=10.0),
    }
    model = {"model": models[name]} if name in models else {}
    return LocalEndpoint(faults=list(faults), **model)


def service_for(name, endpoint, *, config=None, **options):
    return getattr(ours, name)(config=endpoint.config(**QUICK | (config or {})), **options)


class Connections:
    """How often pipecat's service says that it has connected, and lost the connection."""

    def __init__(self, service):
        self.connected = self.lost = 0

        @service.event_handler("on_connected")
        async def on_connected(_service):
            self.connected += 1

        @service.event_handler("on_connection_error")
        async def on_connection_error(_service, _error):
            self.lost += 1


async def hear(running):
    await running.hear(range(HEARD))


async def say(running):
    await running.say(*SPOKEN)


@pytest.mark.parametrize("name", HEARING)
async def test_what_is_heard_is_the_same_over_broken_streams(name):
    outputs = []
    for faults in ([], [Fault(Reset(), when=AfterNewChunks(60), times=None)]):
        with endpoint_for(name, *faults) as endpoint:
            service = service_for(name, endpoint)
            connections = Connections(service)
            clients = watch_clients(service)
            outputs.append(await run(service, hear))
            assert len(endpoint.legs) == (4 if faults else 1)
        # One session: pipecat did not begin another.
        assert (connections.connected, connections.lost) == (1, 0)
        assert [client.stats.sessions for client in clients] == [1]
        assert clients[0].stats.resets == ({"reset": 3} if faults else {})
    before, after = outputs
    assert before.errors == after.errors == []
    # The last words, too, which pipecat's own services do not wait for.
    assert after.numbers == before.numbers == list(range(HEARD))
    assert after.timed == before.timed


@pytest.mark.parametrize("name", SPEAKING)
async def test_what_is_spoken_is_the_same_over_broken_streams(name):
    outputs = []
    for faults in ([], [Fault(Reset(), when=AfterReplies(50), times=None)]):
        with endpoint_for(name, *faults) as endpoint:
            service = service_for(name, endpoint)
            connections = Connections(service)
            clients = watch_clients(service)
            outputs.append(await run(service, say))
            assert len(endpoint.legs) == 1 if not faults else len(endpoint.legs) >= 3
        assert (connections.connected, connections.lost) == (1, 0)
        assert [client.stats.sessions for client in clients] == [1]
    before, after = outputs
    assert before.errors == after.errors == []
    assert after.words == before.words == list(range(60))
    assert after.audio == before.audio


def watch_clients(service):
    """The clients that the service is given from now on."""
    clients = []
    kind = type(service)

    class Watched(kind):
        @property
        def _client(self):
            return kind._client.fget(self)

        @_client.setter
        def _client(self, client):
            kind._client.fset(self, client)
            if kind._client.fget(self) is not None:
                clients.append(kind._client.fget(self))

    Watched.__name__ = kind.__name__
    service.__class__ = Watched
    return clients


@pytest.mark.parametrize("name", [*HEARING, *SPEAKING])
async def test_what_is_permanent_reaches_error_frames_at_the_start(name):
    with endpoint_for(name, Fault(DENIED, times=None)) as endpoint:
        service = service_for(name, endpoint)
        connections = Connections(service)
        began = time.monotonic()

        async def wait(running):
            await running.until(lambda it: it.errors or connections.lost)

        gathered = await run(service, wait)
        assert time.monotonic() - began < 10
        assert len(endpoint.legs) == 1
    assert (connections.connected, connections.lost) == (0, 1)
    (error,) = gathered.errors
    assert "AccessDeniedException" in error.error
    assert isinstance(error.exception, ours.SageMakerBidiSessionError)
    assert error.exception.http_status == 403
    if KNOWS_PERMANENT:
        # Flux TTS begins a session with each turn that finds none.
        assert service.is_usable == (name == "DeepgramFluxSageMakerTTSService")


@pytest.mark.parametrize("name", HEARING)
async def test_what_is_permanent_reaches_error_frames_in_mid_stream(name):
    faults = [
        Fault(Reset(), when=AfterAudio(1.3), legs=1),
        Fault(DENIED, legs=(2, 99), times=None),
    ]
    with endpoint_for(name, *faults) as endpoint:
        service = service_for(name, endpoint)

        async def act(running):
            await running.hear(range(100))
            await running.until(lambda it: it.errors)
            # Nothing more is heard, and that is not reported for each chunk.
            await running.hear(range(100, 150))

        gathered = await run(service, act)
        assert len(endpoint.legs) == 2
    assert 1 <= len(gathered.errors) <= 2
    assert any("AccessDeniedException" in error.error for error in gathered.errors)
    assert gathered.numbers == list(range(len(gathered.numbers)))
    assert len(gathered.numbers) >= 50
    if KNOWS_PERMANENT:
        assert not service.is_usable


@pytest.mark.parametrize("name", SPEAKING)
async def test_a_voice_that_fails_reports_it_and_flux_speaks_on(name):
    faults = [Fault(Reset(), when=AfterReplies(30), legs=1), Fault(DENIED, legs=2)]
    with endpoint_for(name, *faults) as endpoint:
        service = service_for(name, endpoint)

        async def act(running):
            await running.say(*SPOKEN[:2])
            await running.until(lambda it: it.errors)
            # As a transport does that has nothing more to play.
            await running.put(BotStoppedSpeakingFrame())
            await running.say(SPOKEN[5])

        gathered = await run(service, act)
    assert any("AccessDeniedException" in error.error for error in gathered.errors)
    if name == "DeepgramFluxSageMakerTTSService":
        assert gathered.words[-10:] == list(range(50, 60))
        assert service.is_usable
    elif KNOWS_PERMANENT:
        assert not service.is_usable
    # The last of the first stream may have been lost with it.
    assert gathered.words[:8] == list(range(8))


@pytest.mark.parametrize(
    ("failure", "category"),
    [
        (THROTTLED, "RATE_LIMIT"),
        (Answer(503, "ServiceUnavailableException"), "SERVER"),
        (Answer(424, "ModelError"), "SERVER"),
    ],
)
@pytest.mark.skipif(not KNOWS_PERMANENT, reason="pipecat has categories from 1.8 on")
async def test_errors_have_pipecats_categories(failure, category):
    name = "DeepgramSageMakerSTTService"
    faults = [
        Fault(Reset(), when=AfterAudio(0.5), legs=1),
        Fault(failure, legs=(2, 99), times=None),
    ]
    with endpoint_for(name, *faults) as endpoint:
        service = service_for(name, endpoint, config={"max_retries": 2})

        async def act(running):
            await running.hear(range(60))
            await running.until(lambda it: it.errors)

        gathered = await run(service, act)
    found = [error for error in gathered.errors if error.exception is not None]
    if RELEASE >= (1, 14):
        assert found[0].category.name == category
    assert not service.is_usable


@pytest.mark.skipif(RELEASE < (1, 14), reason="earlier releases classify by the HTTP status alone")
async def test_resets_without_end_are_a_lost_connection():
    name = "DeepgramSageMakerSTTService"
    with endpoint_for(name, Fault(Reset(), when=AfterAudio(0.1), times=None)) as endpoint:
        service = service_for(name, endpoint, config={"max_retries": 2})

        async def act(running):
            await running.hear(range(60))
            await running.until(lambda it: it.errors)

        gathered = await run(service, act)
    assert gathered.errors[0].category.name == "CONNECTIVITY"


async def test_what_is_said_while_nova_connects_is_heard():
    name = "DeepgramSageMakerSTTService"
    with endpoint_for(name, Fault(DelayAnswer(0.7), legs=1)) as endpoint:
        service = service_for(name, endpoint)
        gathered = await run(service, lambda running: running.hear(range(50)))
    assert gathered.errors == []
    assert gathered.numbers == list(range(50))


@pytest.mark.parametrize("name", HEARING)
async def test_a_cancelled_pipeline_does_not_wait(name):
    with endpoint_for(name, Fault(GoSilent(), when=AfterAudio(0.5))) as endpoint:
        service = service_for(name, endpoint)
        took = []

        async def act(running):
            await running.hear(range(60))
            took.append(time.monotonic())

        await run(service, act, end=CancelFrame)
        assert time.monotonic() - took[0] < 4


async def test_last_results_that_do_not_come_are_an_error():
    name = "DeepgramSageMakerSTTService"
    with endpoint_for(name, Fault(GoSilent(), when=AfterAudio(0.5))) as endpoint:
        service = service_for(name, endpoint, config={"close_timeout": 0.5})
        gathered = await run(service, lambda running: running.hear(range(60)))
    assert [error.error for error in gathered.errors] == [
        "the results of the last audio did not come within 0.5 s (close_timeout)"
    ]


async def test_a_session_that_fails_before_flux_confirms_it_does_not_hang():
    name = "DeepgramFluxSageMakerSTTService"

    async def ends_at_once(stream):
        async for _ in stream:
            return

    with LocalEndpoint(model=ends_at_once, faults=[Fault(DENIED, legs=2)]) as endpoint:
        service = service_for(name, endpoint)
        connections = Connections(service)

        async def speak():
            await until(lambda: endpoint.legs and service._client.is_active)
            await service._client.send_audio_chunk(bytes(640))

        speaking = asyncio.create_task(speak())
        began = time.monotonic()
        gathered = await run(service, lambda it: it.until(lambda _: connections.lost))
        # Not as long as Flux may take to confirm a session.
        assert time.monotonic() - began < 8
        await speaking
    assert (connections.connected, connections.lost) == (0, 1)
    (error,) = gathered.errors
    assert "AccessDeniedException" in error.error


async def test_an_interruption_silences_the_voice_over_a_broken_stream():
    name = "DeepgramSageMakerTTSService"
    with endpoint_for(name, Fault(Reset(), when=AfterReplies(30), legs=1)) as endpoint:
        service = service_for(name, endpoint)

        async def act(running):
            await running.say(" ".join(map(str, range(100, 160))))
            await running.until(
                lambda it: sum(isinstance(each, TTSAudioRawFrame) for each in it.frames) > 40
            )
            await running.put(InterruptionFrame())
            await running.say(SPOKEN[0])

        gathered = await run(service, act)
        assert endpoint.stats.faults == 1
    assert gathered.errors == []
    assert gathered.words[-10:] == list(range(10))
    assert len(gathered.words) < 70


@pytest.mark.skipif(not HAS_FLUX_TTS, reason="pipecat has it from 1.8 on")
async def test_another_voice_of_flux_is_another_session():
    name = "DeepgramFluxSageMakerTTSService"
    with endpoint_for(name) as endpoint:
        service = service_for(name, endpoint)

        async def act(running):
            await running.say(SPOKEN[0])
            delta = getattr(ours, name).Settings(voice="flux-alexis-en")
            await running.put(TTSUpdateSettingsFrame(delta=delta))
            await running.say(SPOKEN[1])

        gathered = await run(service, act)
        assert [leg.query.split("&")[0] for leg in endpoint.legs] == [
            "model=flux-heather-en",
            "model=flux-alexis-en",
        ]
    assert gathered.words == list(range(20))


@pytest.mark.skipif(RELEASE < (1, 14), reason="earlier releases do not connect again for it")
async def test_settings_that_need_another_session_lose_nothing():
    name = "DeepgramFluxSageMakerSTTService"
    with endpoint_for(name) as endpoint:
        service = service_for(name, endpoint)

        async def act(running):
            await running.hear(range(75))
            delta = getattr(ours, name).Settings(redact="numbers")
            await running.put(STTUpdateSettingsFrame(delta=delta))
            await running.hear(range(75, 150))

        gathered = await run(service, act)
        assert ["redact" in leg.query for leg in endpoint.legs] == [False, True]
    assert gathered.errors == []
    assert gathered.numbers == list(range(150))


async def test_flux_that_does_not_confirm_its_session_is_an_error(monkeypatch):
    name = "DeepgramFluxSageMakerSTTService"
    # As long as either side waits.
    monkeypatch.setattr(getattr(ours, name), "_CONNECTION_TIMEOUT", 0.3, raising=False)
    monkeypatch.setattr(services, "_CONFIRMATION", 0.5)

    async def mute(stream):
        async for _ in stream:
            pass

    with LocalEndpoint(model=mute) as endpoint:
        service = service_for(name, endpoint)
        connections = Connections(service)
        gathered = await run(service, lambda it: it.until(lambda _: connections.lost))
    assert (connections.connected, connections.lost) == (0, 1)
    (error,) = gathered.errors
    assert "confirm" in error.error


def test_arguments_are_pipecats_own_and_a_config():
    kind = ours.DeepgramSageMakerSTTService
    service = kind(
        endpoint_name="one",
        region="eu-west-1",
        encoding="mulaw",
        sample_rate=8000,
        settings=kind.Settings(model="nova-2", keyterm="deep gram"),
    )
    assert isinstance(service, kind.__mro__[2])
    query = dict(pair.split("=", 1) for pair in service._build_query_string().split("&"))
    assert (query["model"], query["encoding"]) == ("nova-2", "mulaw")
    config = SageMakerConfig("two", region="eu-west-1")
    service = kind(config=config)
    assert (service._endpoint_name, service._region) == ("two", "eu-west-1")
    with pytest.raises(ValueError, match="is not that of config="):
        kind(endpoint_name="one", config=config)
    with pytest.raises(TypeError, match="an endpoint is needed"):
        kind()


def test_a_client_of_another_kind_is_kept():
    service = ours.DeepgramSageMakerTTSService(endpoint_name="one", region="eu-west-1")
    assert service._client is None
    service._client = client = object()
    assert service._client is client


def test_what_pipecat_does_not_have_is_said():
    assert set(ours.__all__) <= set(dir(ours))
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = ours.Nonsense
    if not HAS_FLUX_TTS:
        with pytest.raises(ImportError, match=r"needs pipecat 1\.8 or later"):
            _ = ours.DeepgramFluxSageMakerTTSService


async def test_transcripts_say_when_they_were_spoken():
    name = "DeepgramSageMakerSTTService"
    with endpoint_for(name, Fault(Reset(), when=AfterAudio(0.5))) as endpoint:
        gathered = await run(service_for(name, endpoint), lambda it: it.hear(range(50)))
    frames = gathered.of(TranscriptionFrame)
    assert [frame.result["start"] for frame in frames] == [0.0, 0.2, 0.4, 0.6, 0.8]
