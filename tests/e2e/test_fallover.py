"""Sessions that fall over to another endpoint, over sockets: nothing is lost or repeated."""

import asyncio
import contextlib
import gc
import itertools
import random
import threading
import time
import weakref
from contextlib import AsyncExitStack

import pytest
from deepgram.transport import restore_transport
from deepgram_sagemaker import (
    Endpoint,
    SageMakerTransport,
    SageMakerTransportFactory,
    events,
    fallover,
)
from deepgram_sagemaker.config import REGION_OF_BOTO3
from deepgram_sagemaker.errors import (
    AcquireTimeoutError,
    AuthenticationError,
    ConnectError,
    EndpointNotFoundError,
    ModelError,
    NoCredentialsError,
    RetriesExhaustedError,
    SageMakerError,
    ValidationError,
)
from deepgram_sagemaker.local import Credentials, Fault, LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterChunks,
    AfterMessages,
    AfterNewChunks,
    AfterReplies,
    Answer,
    InBandException,
    ModelStreamError,
    NeverAnswer,
    NeverTls,
    Reset,
    ResetTcp,
)
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.otel import Telemetry
from deepgram_sagemaker.stats import add_up
from e2e.matrix import BREAKS, impatient, parameters
from e2e.schedules import PRODUCTS
from e2e.survival import LINEAR16, assert_whole, converse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sessions import CHUNK, until

NO_DELAYS = {"initial_backoff": 30.0, "max_backoff": 30.0}
"""Settings under which any wait between two attempts is noticed."""
QUICK = {"initial_backoff": 0.01, "max_backoff": 0.02}
QUERY = "model=nova-3&encoding=linear16&sample_rate=16000"
THROTTLED = Answer(429, "ThrottlingException")


@contextlib.asynccontextmanager
async def two(first=(), second=(), *, model="watermark", **options):
    """Two endpoints in two regions, each with its faults, authority and keys."""
    keys = [
        Credentials(access_key_id=f"AKID{name}", secret_access_key=name)
        for name in ("FIRST", "SECOND")
    ]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                LocalEndpoint(name, model, faults=faults, region=region, credentials=own, **options)
            )
            for name, region, faults, own in zip(
                ("first", "second"),
                ("us-east-1", "us-west-2"),
                (first, second),
                keys,
                strict=True,
            )
        ]


def in_order(first, second, **settings):
    return first.config(**{"fallbacks": [second.as_fallback()], **settings})


async def failed(config):
    """Returns how a session that cannot work ends."""
    transport = SageMakerTransport(config, "v1/listen", QUERY)
    try:
        for number in range(50):
            await transport.send(chunk(number, CHUNK))
        async for _ in transport:
            pass
    except SageMakerError as error:
        return error
    finally:
        await transport.close()
    pytest.fail("it worked")


async def spoken(config, chunks=60, **more):
    """Runs a session to its end and checks all of it; returns its statistics."""
    heard = await converse(config, LINEAR16, chunks, **more)
    assert_whole(heard, LINEAR16, chunks)
    return heard.stats


# Openings.

OF_ITS_OWN = {
    "throttled": (THROTTLED, {}),
    "throttled-400": (Answer(400, "ThrottlingException"), {}),
    "full": (Answer(424, "ModelError"), {}),
    "unavailable": (Answer(503, "ServiceUnavailableException"), {}),
    "internal": (Answer(500, "InternalFailure"), {}),
    "denied": (Answer(403, "AccessDeniedException"), {}),
    "gone": (Answer(404, "ResourceNotFound"), {}),
    "no-tls": (NeverTls(), {"connection_timeout": 0.3}),
    "no-answer": (NeverAnswer(), {"subscription_timeout": 0.3}),
    "cut": (ResetTcp(), {}),
    "refused": (None, {"endpoint_uri": "https://127.0.0.1:1"}),
    "no-name": (None, {"endpoint_uri": "https://no-such-host.invalid"}),
    "no-bundle": (None, {"ca_bundle": "/no/such/file.pem"}),
    "wrong-bundle": (None, {"ca_bundle": "second"}),
}


@pytest.mark.parametrize("how", OF_ITS_OWN)
async def test_an_opening_that_fails_is_tried_at_the_next_endpoint_at_once(how):
    action, settings = OF_ITS_OWN[how]
    faults = [] if action is None else [Fault(action, times=None)]
    async with two(faults) as (first, second):
        if settings.get("ca_bundle") == "second":
            settings = {"ca_bundle": second.ca_bundle}
        began = time.monotonic()
        stats = await spoken(in_order(first, second, **NO_DELAYS, **settings))
        assert time.monotonic() - began < 20
        assert stats.legs_at == {"second (us-west-2)": 1}
        assert (stats.attempts, stats.legs, stats.fallovers) == (2, 1, 1)
        assert second.stats.opens == second.stats.accepted == 1
        assert second.legs[0].access_key_id == "AKIDSECOND"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(400, "ValidationException", "no"), ValidationError),
        (Answer(403, "InvalidSignatureException", "Signature not yet current: 1"), None),
    ],
)
async def test_what_would_be_the_same_everywhere_is_not_carried_around(answer, error):
    async with two([Fault(answer, times=None)]) as (first, second):
        raised = await failed(in_order(first, second, **QUICK))
        assert isinstance(raised, error or AuthenticationError)
        assert (raised.attempts, first.stats.opens, second.stats.opens) == (1, 1, 0)


async def test_bad_audio_is_not_carried_around():
    fault = Fault(ModelStreamError("1011", "DATA-0000"), when=AfterMessages(5), times=None)
    async with two([fault]) as (first, second):
        raised = await failed(in_order(first, second, **QUICK))
        assert isinstance(raised, ModelError)
        assert (raised.attempts, second.stats.opens) == (1, 0)


async def test_missing_credentials_are_not_carried_around():
    async with two() as (first, second):
        config = first.config(
            boto3_session=None, fallbacks=[second.as_fallback(boto3_session=None)]
        )
        raised = await failed(config)
        assert isinstance(raised, NoCredentialsError)
        assert (first.stats.opens, second.stats.opens) == (0, 0)


async def test_keys_that_are_not_known_are_not_carried_around():
    refusal = Fault(Answer(403, "UnrecognizedClientException"), times=None)
    async with two([refusal]) as (first, second):
        fallback = second.as_fallback(boto3_session=None)
        raised = await failed(first.config(fallbacks=[fallback]))
        assert isinstance(raised, AuthenticationError)
        assert (first.stats.opens, second.stats.opens) == (1, 0)


async def test_an_endpoint_with_keys_of_its_own_is_tried():
    refusal = Fault(Answer(403, "UnrecognizedClientException"), times=None)
    async with two([refusal]) as (first, second):
        stats = await spoken(in_order(first, second, **NO_DELAYS))
        assert stats.legs_at == {"second (us-west-2)": 1}


async def test_each_endpoint_has_its_variant_and_region():
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            LocalEndpoint("first", faults=[Fault(THROTTLED, times=None)], variants=["blue"])
        )
        second = await stack.enter_async_context(
            LocalEndpoint("second", region="eu-west-1", variants=["red", "green"])
        )
        config = first.config(
            target_variant="blue", fallbacks=[second.as_fallback(target_variant="green")]
        )
        stats = await spoken(config)
        assert stats.legs_at == {"second/green (eu-west-1)": 1}
        # It refuses the variant of another endpoint, and requests signed for another region.
        assert (second.stats.opens, second.stats.accepted) == (1, 1)


async def test_a_fallback_whose_region_is_boto3s():
    async with two([Fault(THROTTLED, times=None)]) as (first, second):
        config = in_order(first, second, fallbacks=[second.as_fallback(region=REGION_OF_BOTO3)])
        stats = await spoken(config)
        assert stats.legs_at == {"second (us-west-2)": 1}


async def test_routes_take_fallbacks():
    async with two([Fault(THROTTLED, times=None)]) as (first, second):
        factory = SageMakerTransportFactory(routes={"v1/listen": in_order(first, second)})
        assert (await spoken(factory)).legs_at == {"second (us-west-2)": 1}


# Every endpoint fails.


async def test_the_error_names_each_endpoint_and_its_reason():
    gone = [Fault(Answer(404, "ResourceNotFound"), times=None)]
    busy = [Fault(Answer(503, "ServiceUnavailableException"), times=None)]
    async with two(gone, busy) as (first, second):
        error = await failed(in_order(first, second, max_retries=2, **QUICK))
        assert type(error) is RetriesExhaustedError
        # What would be the same again is tried once; the other one once in each round.
        assert (first.stats.opens, second.stats.opens) == (1, 3)
        assert error.attempts == 4
        assert error.endpoints == {
            "first (us-east-1)": "no_endpoint",
            "second (us-west-2)": "service_failed",
        }
        assert "first (us-east-1): no_endpoint; second (us-west-2): service_failed" in str(error)


async def test_what_is_final_at_every_endpoint_is_not_tried_again():
    gone = [Fault(Answer(404, "ResourceNotFound"), times=None)]
    denied = [Fault(Answer(403, "AccessDeniedException"), times=None)]
    async with two(denied, gone) as (first, second):
        error = await failed(in_order(first, second, **QUICK))
        assert type(error) is EndpointNotFoundError
        assert (first.stats.opens, second.stats.opens) == (1, 1)
        assert (error.attempts, error.retryable) == (2, False)
        assert "first (us-east-1): access_denied; second (us-west-2): no_endpoint" in str(error)


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_max_retries_counts_rounds(retries):
    refused = [Fault(THROTTLED, times=None)]
    async with two(refused, refused) as (first, second):
        error = await failed(in_order(first, second, max_retries=retries, **QUICK))
        assert type(error) is (RetriesExhaustedError)
        assert (first.stats.opens, second.stats.opens) == (retries + 1, retries + 1)
        assert error.attempts == 2 * (retries + 1)


async def test_the_budget_holds_for_all_endpoints_together():
    refused = [Fault(THROTTLED, times=None)]
    async with two(refused, refused) as (first, second):
        settings = {"max_retries": 10_000, "retry_budget": 0.5, **QUICK}
        error = await failed(in_order(first, second, **settings))
        assert type(error) is RetriesExhaustedError
        assert 0.5 <= error.elapsed < 3


async def test_max_concurrency_counts_the_streams_of_all_endpoints():
    faults = [Fault(THROTTLED, legs=1)]
    async with two(faults) as (first, second):
        config = in_order(
            first, second, max_concurrency=1, connection_acquire_timeout=0.2, max_retries=1, **QUICK
        )
        factory = SageMakerTransportFactory(config=config)
        holder = factory("wss://x/v1/listen?" + QUERY)
        await holder.open()
        assert second.stats.live_streams == 1
        other = factory("wss://x/v1/listen?" + QUERY)
        with pytest.raises(RetriesExhaustedError) as caught:
            await other.open()
        assert isinstance(caught.value.__cause__, AcquireTimeoutError)
        assert (first.stats.opens, second.stats.opens) == (1, 1)
        await holder.close()
        await other.close()


# In mid-session.


def middle(product, conversation):
    """The trigger of a fault in the middle of a conversation."""
    if product.endswith("listen"):
        return AfterChunks(conversation.chunks // 2)
    if product.endswith("converse"):
        # In its greeting: how often the user speaks is random.
        return AfterReplies(5)
    return AfterMessages(max(2, conversation.messages // 2))


# One that still covers the stream begins a rollover, and is no failure.
ENDS = [name for name in BREAKS if name != "goaway-covering"]


@pytest.mark.parametrize(
    ("name", "product"),
    [
        each
        for each in parameters(ENDS, [*PRODUCTS], few=9)
        # An agent is silent while the user does not speak.
        if each.values != ("silence", "v1/agent/converse")
    ],
)
async def test_a_session_goes_on_at_the_next_endpoint(name, product):
    conversation = PRODUCTS[product](random.Random(f"{name} {product}"))
    faults = [Fault(BREAKS[name], when=middle(product, conversation), times=None)]
    async with two(faults, model=conversation.model) as (first, second):
        config = impatient(
            first,
            fallbacks=[second.as_fallback()],
            stall_timeout=0.5 if conversation.notices_silence else None,
            close_timeout=20.0,
            **NO_DELAYS,
        )
        began = time.monotonic()
        await conversation.converse(config)
        assert time.monotonic() - began < 25, "no delay comes before another endpoint"
        conversation.assert_whole(faults)
        stats = conversation.stats
        assert (first.stats.opens, second.stats.opens) == (1, 1)
        assert stats.legs_at == {"first (us-east-1)": 1, "second (us-west-2)": 1}
        assert stats.fallovers == sum(stats.resets.values()) == 1
        assert stats.bytes_lost == 0
        assert second.stats.signature_failures == 0


async def test_both_break_in_turn_and_each_time_the_other_goes_on():
    faults = [Fault(Reset(), when=AfterNewChunks(20), times=None)]
    async with two(faults, faults) as (first, second):
        stats = await spoken(
            # On a busy machine no result may come before both have failed.
            in_order(first, second, **QUICK, max_retries=50, replay_speed=None),
            200,
            pace=0.005,
        )
        assert stats.fallovers >= 8
        assert min(first.stats.opens, second.stats.opens) >= 4


async def test_a_break_at_one_while_the_other_is_down_waits_there():
    """The second is known to be down. One reset says nothing about the first."""
    faults = [Fault(Reset(), when=AfterNewChunks(20), legs=1)]
    down = [Fault(ResetTcp(), times=None)]
    async with two(faults, down) as (first, second):
        config = in_order(first, second, **QUICK)
        factory = SageMakerTransportFactory(config=config)
        # This one finds out.
        services = factory._services_of(config)
        assert services.endpoints.failed(
            services.endpoints.choose(["failed", "untried"]), "connect"
        )
        stats = await spoken(factory)
        assert stats.legs_at == {"first (us-east-1)": 2}
        assert second.stats.connections == 0


async def test_without_a_retry_the_one_that_is_down_is_tried_all_the_same():
    faults = [Fault(Reset(), when=AfterNewChunks(20), legs=1)]
    async with two(faults) as (first, second):
        config = in_order(first, second, max_retries=0)
        factory = SageMakerTransportFactory(config=config)
        services = factory._services_of(config)
        assert services.endpoints.failed(
            services.endpoints.choose(["failed", "untried"]), "connect"
        )
        assert (await spoken(factory)).legs_at == {
            "first (us-east-1)": 1,
            "second (us-west-2)": 1,
        }


async def test_what_ends_a_stream_for_good_here_is_tried_there():
    fault = Fault(InBandException("AccessDeniedException", "no"), when=AfterReplies(2), times=None)
    async with two([fault]) as (first, second):
        stats = await spoken(in_order(first, second, **NO_DELAYS))
        assert stats.fallovers == 1
        assert (first.stats.opens, second.stats.opens) == (1, 1)


async def test_keys_that_run_out_are_renewed_where_they_ran_out():
    fault = Fault(InBandException("ExpiredTokenException"), when=AfterReplies(2), legs=1)
    async with two([fault]) as (first, second):
        stats = await spoken(in_order(first, second, max_retries=0))
        assert stats.legs_at == {"first (us-east-1)": 2}
        assert (second.stats.opens, stats.fallovers) == (0, 0)


# What the sessions of a factory find out together.


@pytest.fixture
def short_rests(monkeypatch):
    """Seconds become tenths."""
    monkeypatch.setattr(
        fallover, "_RESTS", dict.fromkeys(fallover._RESTS, fallover._Rest(first=0.5, most=1.0))
    )


async def test_an_endpoint_that_failed_is_left_alone_by_all(caplog):
    caplog.set_level("INFO", "deepgram_sagemaker")
    faults = [Fault(Answer(503, "ServiceUnavailableException"), legs=1)]
    async with two(faults) as (first, second):
        factory = SageMakerTransportFactory(config=in_order(first, second))
        for _ in range(3):
            await spoken(factory, 20)
        assert (first.stats.opens, second.stats.opens) == (1, 3)
        assert factory.stats.legs_at == {"second (us-west-2)": 3}
        assert factory.stats.fallovers == 1
        alone = [
            record for record in caplog.records if "other endpoints are used" in record.getMessage()
        ]
        assert len(alone) == 1
        assert alone[0].levelname == "WARNING"


async def test_one_broken_stream_does_not_condemn_an_endpoint():
    faults = [Fault(Reset(), when=AfterNewChunks(10), legs=1)]
    async with two(faults) as (first, second):
        factory = SageMakerTransportFactory(config=in_order(first, second))
        assert (await spoken(factory)).legs_at == {"first (us-east-1)": 1, "second (us-west-2)": 1}
        await spoken(factory)
        assert first.stats.opens == 2


async def test_one_session_tries_an_endpoint_again_and_the_others_follow(short_rests, caplog):
    caplog.set_level("INFO", "deepgram_sagemaker")
    faults = [Fault(Answer(503, "ServiceUnavailableException"), legs=1)]
    async with two(faults) as (first, second):
        factory = SageMakerTransportFactory(config=in_order(first, second))
        await spoken(factory, 20)
        await asyncio.sleep(0.7)
        await asyncio.gather(*(spoken(factory, 20) for _ in range(5)))
        assert first.stats.accepted == 1
        assert second.stats.accepted == 5
        assert "endpoint first (us-east-1) works again" in caplog.text


async def test_an_endpoint_on_trial_holds_no_session_for_long(short_rests, monkeypatch):
    monkeypatch.setattr("deepgram_sagemaker.driver.TRIAL_PATIENCE", 0.3)
    faults = [
        Fault(Answer(503, "ServiceUnavailableException"), legs=1),
        Fault(NeverAnswer(), legs=2),
    ]
    async with two(faults) as (first, second):
        config = in_order(first, second, **NO_DELAYS)
        factory = SageMakerTransportFactory(config=config)
        await spoken(factory, 20)
        await asyncio.sleep(0.7)
        began = time.monotonic()
        await spoken(factory, 20)
        assert time.monotonic() - began < 20
        assert (first.stats.opens, second.stats.opens) == (2, 2)
        await until(lambda: first.stats.live_streams == 0)


async def test_a_trial_that_waits_for_a_permit_is_not_held_against_the_endpoint(
    short_rests, monkeypatch
):
    monkeypatch.setattr("deepgram_sagemaker.driver.TRIAL_PATIENCE", 0.3)
    seen = []
    async with two([Fault(Answer(503, "ServiceUnavailableException"), legs=1)]) as (first, second):
        config = in_order(first, second, max_concurrency=1)
        factory = SageMakerTransportFactory(config=config, on_event=seen.append)
        holder, other = (factory("wss://x/v1/listen?" + QUERY) for _ in range(2))
        await holder.open()
        await asyncio.sleep(0.7)
        opening = asyncio.create_task(other.open())
        await asyncio.sleep(0.8)
        assert (first.stats.opens, second.stats.opens, opening.done()) == (1, 1, False)
        await holder.close()
        await opening
        # It waited for its turn, and then it was the trial.
        assert (first.stats.accepted, second.stats.accepted) == (1, 1)
        assert [event.reason for event in told(seen, events.EndpointAvoided)] == ["service_failed"]
        assert len(told(seen, events.EndpointReturned)) == 1
        await other.close()


async def test_a_trial_that_was_a_standby_holds_no_session_whose_leg_ends(short_rests, monkeypatch):
    monkeypatch.setattr("deepgram_sagemaker.driver.TRIAL_PATIENCE", 0.3)
    faults = [
        Fault(Answer(503, "ServiceUnavailableException"), legs=1),
        Fault(NeverAnswer(), legs=2),
    ]
    reset = [Fault(Reset(), when=AfterNewChunks(75), legs=1)]
    async with two(faults, reset) as (first, second):
        config = in_order(first, second, max_leg_age=0.9, subscription_timeout=60)
        factory = SageMakerTransportFactory(config=config)
        began = time.monotonic()
        # The standby has been on its way to the first for half a second when the leg ends.
        stats = await spoken(factory, 100, pace=0.02)
        assert time.monotonic() - began < 20
        assert stats.legs_at["second (us-west-2)"] >= 2
        assert stats.resets == {"reset": 1}
        await until(lambda: first.stats.live_streams == 0)


async def test_a_session_returns_at_its_next_rollover(short_rests):
    faults = [Fault(Answer(503, "ServiceUnavailableException"), legs=1)]
    async with two(faults) as (first, second):
        config = in_order(first, second, max_leg_age=1.0)
        stats = await spoken(config, 150, pace=0.02)
        assert stats.rollovers >= 1
        assert stats.resets == {}
        assert second.stats.opens == 1
        assert first.stats.accepted >= 1


async def test_a_rollover_that_the_preferred_endpoint_refuses_goes_on_elsewhere():
    faults = [Fault(THROTTLED, legs=(2, None), times=None)]
    async with two(faults) as (first, second):
        config = in_order(first, second, max_leg_age=0.5)
        stats = await spoken(config, 60, pace=0.02)
        assert (stats.rollovers, stats.resets) == (stats.legs - 1, {})
        assert stats.legs_at["first (us-east-1)"] == 1
        assert stats.legs_at["second (us-west-2)"] >= 1


# What is told.


def told(seen, *kinds):
    return [event for event in seen if isinstance(event, kinds)]


async def test_events_say_where_and_why(short_rests):
    seen = []
    faults = [Fault(Reset(), when=AfterNewChunks(10), legs=1), Fault(THROTTLED, legs=2)]
    async with two(faults) as (first, second):
        config = in_order(first, second, max_leg_age=1.0)
        factory = SageMakerTransportFactory(config=config, on_event=seen.append)
        stats = await spoken(factory, 20)
        assert stats.legs_at == {"first (us-east-1)": 1, "second (us-west-2)": 1}
        (changed,) = told(seen, events.EndpointChanged)
        assert (changed.before, changed.after) == ("first (us-east-1)", "second (us-west-2)")
        assert (changed.endpoint_name, changed.region) == ("second", "us-west-2")
        assert (changed.leg, changed.falls_over) == (1, True)
        assert [event.endpoint_name for event in told(seen, events.LegOpening)] == [
            "first",
            "second",
        ]
        assert [event.endpoint_name for event in told(seen, events.LegEnded)] == [
            "first",
            "second",
        ]
        assert told(seen, events.EndpointAvoided) == []

        seen.clear()
        # The first refuses the first stream, and works from the next one on.
        await spoken(factory, 150, pace=0.02)
        (avoided,) = told(seen, events.EndpointAvoided)
        assert (avoided.endpoint_name, avoided.reason) == ("first", "throttled")
        (returned,) = told(seen, events.EndpointReturned)
        assert returned.region == "us-east-1"
        (back,) = told(seen, events.EndpointChanged)
        assert (back.after, back.falls_over) == ("first (us-east-1)", False)
        assert told(seen, events.CredentialsRefreshed) == [], "each endpoint has its own keys"
        asked = told(seen, events.LegOpening)
        answered = told(seen, events.LegOpened, events.LegOpenFailed)
        assert len(asked) == len(answered)


async def test_a_return_that_was_seen_first_is_told_after_what_came_before_it(short_rests):
    """While the loop was blocked, the trial's leg opened, and then the current one broke."""
    seen = []

    def block(loop):
        if first.stats.connections < 2:
            # The request is not on its way yet.
            loop.call_soon(block, loop)
            return
        breaks = threading.Timer(0.3, second.refuse_connections, [0.1])
        breaks.start()
        time.sleep(0.6)
        breaks.join()

    def on_event(event):
        seen.append(event)
        if isinstance(event, events.LegOpening) and event.standby and event.attempt == 3:
            block(asyncio.get_running_loop())

    async with two([Fault(Answer(503, "ServiceUnavailableException"), legs=1)]) as (first, second):
        config = in_order(first, second, max_leg_age=1.0)
        factory = SageMakerTransportFactory(config=config, on_event=on_event)
        await converse(factory, LINEAR16, 100, pace=0.02)
    assert len(told(seen, events.EndpointReturned)) == 1
    assert "leg_ended" in [event.name for event in seen]
    times = [event.monotonic for event in seen]
    assert all(after - before > -0.01 for before, after in itertools.pairwise(times))


class Scope:
    """What an application's OpenTelemetry gets of sessions at several endpoints."""

    def __init__(self):
        self.exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))

    def factory(self, config, **more):
        telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)
        return SageMakerTransportFactory(config=config, telemetry=telemetry, **more)

    def spans(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    def read(self):
        """The values of every metric by its endpoint; those with errors are summed."""
        time.sleep(0.11)  # figures are read anew after a tenth of a second
        found = {}
        for metric in self._reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.data.data_points:
                name = metric.name.removeprefix("deepgram_sagemaker.")
                where = point.attributes["deepgram_sagemaker.endpoint.name"]
                value = getattr(point, "count", None)
                at = found.setdefault(name, {})
                at[where] = at.get(where, 0) + (point.value if value is None else value)
        return found


@pytest.fixture
def scope():
    scope = Scope()
    yield scope
    scope.tracers.shutdown()
    scope.meters.shutdown()


FIGURES = {
    "sessions": "sessions",
    "leg.requests": "attempts",
    "legs": "legs",
    "rollovers": "rollovers",
    "fallovers": "fallovers",
    "audio.sent.time": "seconds_sent",
    "audio.sent.size": "bytes_sent",
    "audio.acknowledged.time": "seconds_acknowledged",
    "audio.acknowledged.size": "bytes_acknowledged",
    "audio.replayed.time": "seconds_replayed",
    "audio.replayed.size": "bytes_replayed",
    "audio.evicted.time": "seconds_evicted",
    "audio.evicted.size": "bytes_evicted",
    "audio.lost.time": "seconds_lost",
    "audio.lost.size": "bytes_lost",
    "journal.size": "journal_bytes",
    "messages.sent": "messages_in",
    "messages.received": "messages_out",
}
"""The metrics that are read from `stats`."""


def assert_sums(found, stats):
    """The endpoints' series add up to `stats`."""
    for metric, figure in FIGURES.items():
        assert sum(found[metric].values()) == pytest.approx(getattr(stats, figure)), metric
        assert {*found[metric]} == {"first", "second"}, metric
    resets = found.get("leg.resets", {})
    assert sum(resets.values()) == sum(stats.resets.values())
    assert sum(found["leg.open.duration"].values()) == stats.attempts


async def test_metrics_are_counted_at_the_endpoint_where_it_happened(scope):
    """Twenty chunks are sent to the first, whose stream breaks, and the rest to the second."""
    faults = [Fault(Reset(), when=AfterNewChunks(20), legs=1)]
    async with two(faults) as (first, second):
        factory = scope.factory(in_order(first, second))
        stats = await spoken(factory, 50, pace=0.01)
        assert stats == factory.stats
        found = scope.read()
    assert_sums(found, stats)
    assert stats.legs_at == {"first (us-east-1)": 1, "second (us-west-2)": 1}
    for metric, at in {
        "sessions": (1, 0),
        "leg.requests": (1, 1),
        "legs": (1, 1),
        "fallovers": (0, 1),
        "rollovers": (0, 0),
        "session.active": (0, 0),
        "leg.active": (0, 0),
        "audio.lag": (0, 0),
    }.items():
        assert (found[metric]["first"], found[metric]["second"]) == at, metric
    assert found["leg.resets"] == found["leg.failures"] == {"first": 1}
    assert found["leg.retries"] == {"second": 1}
    assert found["session.duration"] == {"second": 1}
    sent, final = found["audio.sent.size"], found["audio.acknowledged.size"]
    # The first was sent some that it did not finalise; that is what the second was sent again.
    assert 20 * CHUNK <= sent["first"] < 50 * CHUNK
    assert final["first"] < sent["first"]
    assert found["audio.replayed.size"] == {"first": 0, "second": sent["first"] - final["first"]}
    assert final["first"] + final["second"] == 50 * CHUNK
    assert found["messages.received"]["first"] > 0 < found["messages.received"]["second"]
    regions = [span.attributes["cloud.region"] for span in scope.spans("leg")]
    assert sorted(regions) == ["us-east-1", "us-west-2"]
    (whole,) = scope.spans("session")
    assert whole.attributes["cloud.region"] == "us-east-1"
    assert whole.attributes["deepgram_sagemaker.fallovers"] == stats.fallovers == 1
    assert "endpoint_changed" in [event.name for event in whole.events]


async def test_the_endpoint_that_fails_is_the_one_whose_series_says_so(scope):
    async with two([Fault(THROTTLED, times=None)]) as (first, second):
        factory = scope.factory(in_order(first, second))
        for _ in range(3):
            await spoken(factory, 20)
        found = scope.read()
    assert_sums(found, factory.stats)
    assert found["leg.failures"] == {"first": 1}
    assert found["leg.requests"] == {"first": 1, "second": 3}
    assert found["legs"] == {"first": 0, "second": 3}
    assert found["audio.sent.size"] == {"first": 0, "second": 3 * 20 * CHUNK}
    assert found["sessions"] == {"first": 3, "second": 0}


async def test_what_is_lost_is_lost_at_the_endpoint_whose_stream_broke(scope):
    faults = [Fault(Reset(), when=AfterNewChunks(75), legs=1)]
    seen = []
    async with two(faults, model=Watermark(late_chunks=40)) as (first, second):
        config = in_order(first, second, max_replay_buffer_bytes=0)
        factory = scope.factory(config, on_event=seen.append)
        await converse(factory, LINEAR16, 120, pace=0.005)
        stats, found = factory.stats, scope.read()
    assert stats.bytes_lost > 0
    assert_sums(found, stats)
    assert found["audio.lost.size"] == {"first": stats.bytes_lost, "second": 0}
    (gap,) = told(seen, events.Gap)
    assert (gap.endpoint_name, gap.size) == ("first", stats.bytes_lost)
    # Audio that is lost is final nowhere.
    final = found["audio.acknowledged.size"]
    assert final["first"] + final["second"] + stats.bytes_lost == stats.bytes_sent


async def test_what_goes_on_is_shown_where_it_goes_on(scope):
    faults = [Fault(Reset(), when=AfterChunks(20), legs=1)]
    async with two(faults, model=Watermark(late_chunks=100)) as (first, second):
        factory = scope.factory(in_order(first, second))
        transport = factory("wss://x/v1/listen?" + QUERY)
        await transport.open()
        for number in range(10):
            await transport.send(chunk(number, CHUNK))
        await until(lambda: transport.stats.bytes_sent == 10 * CHUNK)
        found = scope.read()
        for metric in ("session.active", "leg.active"):
            assert found[metric] == {"first": 1, "second": 0}, metric
        assert found["audio.lag"] == {"first": pytest.approx(0.2), "second": 0}
        assert found["journal.size"] == {"first": 10 * CHUNK, "second": 0}
        for number in range(10, 20):
            await transport.send(chunk(number, CHUNK))
        await until(lambda: transport.stats.bytes_replayed == 20 * CHUNK)
        found = scope.read()
        for metric in ("session.active", "leg.active"):
            assert found[metric] == {"first": 0, "second": 1}, metric
        assert found["audio.lag"] == {"first": 0, "second": pytest.approx(0.4)}
        assert found["journal.size"] == {"first": 0, "second": 20 * CHUNK}
        await transport.send({"type": "CloseStream"})
        async for _ in transport:
            pass
        await transport.close()
    assert_sums(scope.read(), factory.stats)


async def test_openings_wait_at_the_endpoint_that_they_wait_for(scope):
    async with two([Fault(Answer(503, "ServiceUnavailableException"), legs=1)]) as (first, second):
        factory = scope.factory(in_order(first, second, max_concurrency=1))
        holder, other = (factory("wss://x/v1/listen?" + QUERY) for _ in range(2))
        await holder.open()
        waiting = asyncio.create_task(other.open())
        await until(lambda: sum(scope.read()["leg.waiting"].values()) == 1)
        # The first has just failed.
        assert scope.read()["leg.waiting"] == {"first": 0, "second": 1}
        await holder.close()
        await waiting
        await other.close()


async def test_metrics_have_the_regions_as_they_are_set(scope, monkeypatch):
    """One that has to be looked up would begin another series once it is found."""
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    faults = [Fault(Reset(), when=AfterNewChunks(10), legs=1)]
    async with two(faults) as (first, second):
        fallback = second.as_fallback(region=REGION_OF_BOTO3)
        factory = scope.factory(in_order(first, second, fallbacks=[fallback]))
        await spoken(factory, 30)
        data = scope._reader.get_metrics_data().resource_metrics[0].scope_metrics[0]
    regions = {
        (point.attributes["deepgram_sagemaker.endpoint.name"], point.attributes.get("cloud.region"))
        for metric in data.metrics
        for point in metric.data.data_points
    }
    assert regions == {("first", "us-east-1"), ("second", None)}


async def test_many_sessions_at_two_endpoints_that_break_add_up(scope):
    """Counters never go back, at no endpoint, while sessions move to and fro."""
    faults = [Fault(Reset(), when=AfterNewChunks(20), times=None)]
    over = asyncio.Event()
    async with two(faults, faults) as (first, second):
        config = in_order(first, second, **QUICK, max_retries=50, replay_speed=None)
        factory = scope.factory(config)

        async def watch():
            highest = {}
            await until(lambda: factory.stats.legs)
            while not over.is_set():
                # In another thread, as a reader of the SDK's does.
                for metric, at in (await asyncio.to_thread(scope.read)).items():
                    for where, value in at.items():
                        if metric in FIGURES and metric != "journal.size":
                            assert value >= highest.get((metric, where), 0), metric
                            highest[metric, where] = value

        watching = asyncio.create_task(watch())
        heard = await asyncio.gather(
            *(converse(factory, LINEAR16, 100, pace=0.004) for _ in range(8))
        )
        over.set()
        await watching
        found = scope.read()
    for each in heard:
        assert_whole(each, LINEAR16, 100)
    assert factory.stats.fallovers >= 8
    assert_sums(found, factory.stats)
    assert found["legs"]["first"] > 1 < found["legs"]["second"]


async def test_an_endpoint_of_two_factories_has_one_series(scope):
    """It is the first of one factory, and the fallback of the other."""
    async with two([Fault(THROTTLED, times=None)]) as (first, second):
        falls = scope.factory(in_order(first, second))
        await spoken(falls, 20)
        restore_transport()
        goes_there = scope.factory(in_order(second, first))
        await spoken(goes_there, 30)
        found = scope.read()
    assert_sums(found, add_up([falls.stats, goes_there.stats]))
    assert found["audio.sent.size"] == {"first": 0, "second": 50 * CHUNK}
    assert found["sessions"] == {"first": 1, "second": 1}
    assert found["leg.failures"] == {"first": 1}


def test_a_factory_that_is_gone_leaves_its_figures_and_nothing_else(scope):
    with LocalEndpoint("first") as first, LocalEndpoint("second") as second:

        async def one():
            factory = scope.factory(in_order(first, second))
            await spoken(factory, 10)
            return weakref.ref(next(iter(factory._services.values())))

        services = asyncio.run(one())
        restore_transport()
    gc.collect()
    assert services() is None
    assert sum(scope.read()["audio.sent.size"].values()) == 10 * CHUNK


# Many sessions.

SESSIONS = 100


@pytest.mark.patience(120)
async def test_one_of_two_regions_dies_under_a_hundred_sessions():
    async with two(model=Watermark(silence_timeout=None)) as (first, second):
        factory = SageMakerTransportFactory(config=in_order(first, second, stall_timeout=None))
        everybody = asyncio.Event()

        async def wait_for_the_end(_):
            if first.stats.live_streams == SESSIONS:
                first.refuse_connections(600)
                everybody.set()
            await everybody.wait()

        heard = await asyncio.gather(
            *(
                converse(factory, LINEAR16, 40, pace=0.02, interim=False, middle=wait_for_the_end)
                for _ in range(SESSIONS)
            )
        )
        for each in heard:
            assert_whole(each, LINEAR16, 40)
        stats = factory.stats
        assert stats.bytes_lost == 0
        assert stats.legs_at == {"first (us-east-1)": SESSIONS, "second (us-west-2)": SESSIONS}
        assert stats.fallovers == SESSIONS
        # Nobody knocked at the dead one: each had another to go to.
        assert (first.stats.opens, second.stats.opens) == (SESSIONS, SESSIONS)


@pytest.mark.patience(120)
async def test_both_die_and_come_back():
    async with two() as (first, second):
        config = in_order(
            first, second, retry_budget=60, max_retries=1000, max_backoff=0.2, replay_speed=None
        )

        async def outage(_):
            first.refuse_connections(1.5)
            second.refuse_connections(1.0)

        factory = SageMakerTransportFactory(config=config)
        heard = await asyncio.gather(
            *(
                converse(factory, LINEAR16, 150, pace=0.02, interim=False, middle=outage)
                for _ in range(5)
            )
        )
        for each in heard:
            assert_whole(each, LINEAR16, 150)
        assert factory.stats.bytes_lost == 0


async def test_an_outage_of_both_names_both():
    async with two() as (first, second):
        first.refuse_connections(600)
        second.refuse_connections(600)
        error = await failed(in_order(first, second, max_retries=1, **QUICK))
        assert type(error) is RetriesExhaustedError
        assert isinstance(error.__cause__, ConnectError)
        assert [*error.endpoints.values()] == ["connect", "connect"]


async def test_closing_during_an_opening_that_falls_over_leaves_nothing():
    async with two([Fault(THROTTLED, times=None)], [Fault(NeverAnswer(), times=None)]) as (
        first,
        second,
    ):
        config = in_order(first, second, close_timeout=0.2)
        transport = SageMakerTransport(config, "v1/listen", QUERY)
        opening = asyncio.create_task(transport.open())
        await until(lambda: second.stats.opens == 1)
        await transport.close()
        with pytest.raises(SageMakerError):
            await opening
        await until(lambda: second.stats.live_connections == 0)
        assert first.stats.live_connections == 0


def test_a_local_endpoint_as_a_fallback():
    with LocalEndpoint("b", region="eu-west-1") as endpoint:
        fallback = endpoint.as_fallback(target_variant="AllTraffic")
        assert isinstance(fallback, Endpoint)
        assert (fallback.endpoint_name, fallback.region) == ("b", "eu-west-1")
        assert (fallback.endpoint_uri, fallback.ca_bundle) == (endpoint.uri, endpoint.ca_bundle)
        assert (fallback.proxy, fallback.target_variant) == ("", "AllTraffic")
