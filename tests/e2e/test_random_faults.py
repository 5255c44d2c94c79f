"""Random faults over real sockets: nothing is lost or repeated."""

import asyncio
import contextlib
import itertools
import random

import pytest
from deepgram_sagemaker import SageMakerTransportFactory, events
from deepgram_sagemaker.errors import RetriesExhaustedError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterAudio,
    AfterBytes,
    AfterChunks,
    AfterMessages,
    AfterNewChunks,
    AfterReplies,
    AfterTime,
    Answer,
    Drop,
    EndEarly,
    Fault,
    GoAway,
    GoSilent,
    InternalStreamFailure,
    Late,
    Malformed,
    ModelStreamError,
    OnMessage,
    OnNextOpen,
    Reset,
    Split,
)
from deepgram_sagemaker.otel import Telemetry
from e2e.schedules import run_all, tally
from e2e.survival import (
    AUDIO,
    MICROSECOND,
    OGG,
    STEREO,
    Heard,
    assert_complete,
    converse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import NoOpTracerProvider

SCHEDULES = 104
AT_ONCE = 16

ANSWERS = (
    Answer(429, "ThrottlingException"),
    Answer(400, "ThrottlingException"),
    Answer(503, "ServiceUnavailableException"),
    Answer(500, "InternalFailure"),
    Answer(424, "ModelError"),
)
ACTIONS = (
    Reset(),
    Reset(code=7),
    Reset(code=8),
    Drop(),
    Drop(rst=False),
    GoAway(covers=True),
    GoAway(covers=False),
    EndEarly(),
    ModelStreamError(),
    InternalStreamFailure(),
    GoSilent(),
    Malformed("truncated"),
    Malformed("unknown_event"),
    Split(7),
    Late(0.03),
)


def trigger(draw, chunks):
    place = draw.randrange(chunks)
    return draw.choice(
        [
            AfterChunks(1 + place),
            AfterNewChunks(1 + place),
            AfterMessages(1 + place),
            AfterBytes(1 + draw.randrange(chunks * 160)),
            AfterAudio(place * 0.02),
            AfterReplies(1 + draw.randrange(chunks // 5)),
            AfterTime(draw.random() * 0.3),
            OnMessage("Finalize"),
            OnMessage("CloseStream"),
            OnNextOpen(),
        ]
    )


def schedule(draw, chunks):
    """One to five things that go wrong, each up to eight times."""
    for _ in range(draw.randint(1, 5)):
        if draw.random() < 0.2:
            yield Fault(draw.choice(ANSWERS), legs=draw.randint(1, 4))
            continue
        action, when = draw.choice(ACTIONS), trigger(draw, chunks)
        yield Fault(action, when=when, times=draw.choice([1, 1, 2, 2, 4, 8]))


async def one(seed):
    draw = random.Random(seed)
    audio, chunks = draw.choice(AUDIO), draw.randint(40, 250)
    faults = list(schedule(draw, chunks))
    model = Watermark(
        window=draw.choice([1, 3, 10, 25]),
        late_chunks=draw.choice([0, 1, 3, 30]),
        channel_skew=draw.choice([0, 1]) if audio is STEREO else 0,
        closing_time=draw.choice([0.0, 0.02]),
    )
    age = draw.choice([None, 0.1, 0.4])
    async with LocalEndpoint(model=model, faults=faults) as endpoint:
        config = endpoint.config(
            max_retries=20,
            initial_backoff=0.01,
            max_backoff=0.05,
            stall_timeout=0.5,
            close_timeout=2.0,
            replay_speed=draw.choice([None, 100.0]),
            max_leg_age=age,
        )
        heard = Heard()
        # An error while audio is still sent is raised there as well.
        with contextlib.suppress(RetriesExhaustedError):
            await converse(
                config,
                audio,
                chunks,
                heard=heard,
                interim=draw.random() < 0.7,
                pace=draw.choice([None, None, 0.001, 0.003]),
                middle=(lambda c: c.send_finalize()) if draw.random() < 0.3 else None,
            )
        try:
            if heard.errors:
                # More failures in a row than the settings allow: the error says what is missing.
                assert_broken_off(heard, audio, chunks)
                return endpoint.stats.faults, heard
            reached = assert_complete(heard, audio, chunks)
            # When the last leg breaks after the last final there is nothing left to resume for.
            for metadata in heard.metadata:
                assert abs(metadata.duration - reached) <= MICROSECOND
            assert len(heard.metadata) <= 1
            assert heard.stats.bytes_lost == 0
            assert endpoint.stats.signature_failures == 0
        except AssertionError as error:
            error.add_note(f"seed {seed}: {audio.name}, {chunks} chunks, {model}, {faults}, {age=}")
            raise
        return endpoint.stats.faults, heard


async def one_of_two(seed):
    """The same at two endpoints, each with its own faults. Now and then one of them is gone."""
    draw = random.Random(f"two {seed}")
    audio, chunks = draw.choice(AUDIO), draw.randint(40, 250)
    faults = [list(schedule(draw, chunks)) for _ in range(2)]
    outages = [
        (draw.randrange(chunks), draw.randrange(2), draw.uniform(0.05, 0.4))
        for _ in range(draw.choice([0, 0, 1, 2]))
    ]
    model = Watermark(
        window=draw.choice([1, 3, 10, 25]),
        late_chunks=draw.choice([0, 1, 3, 30]),
        closing_time=draw.choice([0.0, 0.02]),
    )
    seen, reader = [], InMemoryMetricReader()
    meters = MeterProvider([reader])
    age, keys = draw.choice([None, 0.1, 0.4]), draw.choice([{}, {"boto3_session": None}])
    async with (
        LocalEndpoint("first", model, faults=faults[0]) as first,
        LocalEndpoint("second", model, faults=faults[1], region="us-west-2") as second,
    ):
        config = first.config(
            fallbacks=[second.as_fallback(**keys)],
            max_retries=20,
            initial_backoff=0.01,
            max_backoff=0.05,
            stall_timeout=0.5,
            close_timeout=2.0,
            replay_speed=draw.choice([None, 100.0]),
            max_leg_age=age,
        )
        factory = SageMakerTransportFactory(
            config=config,
            on_event=seen.append,
            telemetry=Telemetry(tracer_provider=NoOpTracerProvider(), meter_provider=meters),
        )
        pace = draw.choice([0, 0, 0.001, 0.003])

        async def wait(_, sent):
            for at, which, seconds in outages:
                if at == sent:
                    (first, second)[which].refuse_connections(seconds)
            await asyncio.sleep(pace)

        heard = Heard()
        with contextlib.suppress(RetriesExhaustedError):
            await converse(
                factory,
                audio,
                chunks,
                heard=heard,
                interim=draw.random() < 0.7,
                wait=wait,
                middle=(lambda c: c.send_finalize()) if draw.random() < 0.3 else None,
            )
        try:
            if heard.errors:
                assert_broken_off(heard, audio, chunks)
            else:
                assert_complete(heard, audio, chunks)
                assert len(heard.metadata) <= 1
                assert heard.stats.bytes_lost == 0
            assert first.stats.signature_failures == second.stats.signature_failures == 0
            assert_told(seen, factory.stats, reader)
        except AssertionError as error:
            error.add_note(
                f"seed {seed}: {audio.name}, {chunks} chunks, {model}, {faults}, {outages}, {age=}"
            )
            raise
        finally:
            meters.shutdown()
        return first.stats.faults + second.stats.faults, heard, factory.stats


def assert_told(seen, stats, reader):
    """Events come in the order of their times, and they and the metrics agree with `stats`."""
    times = [event.monotonic for event in seen]
    assert all(after - before > -0.01 for before, after in itertools.pairwise(times))
    assert isinstance(seen[-1], events.SessionEnded)
    assert seen[-1].totals == stats
    opened = [event for event in seen if isinstance(event, events.LegOpened)]
    ended = [event for event in seen if isinstance(event, events.LegEnded)]
    assert len(opened) == len(ended) == stats.legs == sum(stats.legs_at.values())
    # A leg's end is told of the endpoint where it was opened.
    assert {(event.leg, event.endpoint_name) for event in opened} == {
        (event.leg, event.endpoint_name) for event in ended
    }
    sums = {}
    for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            name = metric.name.removeprefix("deepgram_sagemaker.")
            where = name, point.attributes["deepgram_sagemaker.endpoint.name"]
            value = getattr(point, "count", None)
            sums[where] = sums.get(where, 0) + (point.value if value is None else value)
    for name, figure in {
        "legs": stats.legs,
        "leg.requests": stats.attempts,
        "fallovers": stats.fallovers,
        "rollovers": stats.rollovers,
        "audio.sent.size": stats.bytes_sent,
        "audio.acknowledged.size": stats.bytes_acknowledged,
        "audio.replayed.size": stats.bytes_replayed,
        "messages.received": stats.messages_out,
    }.items():
        assert sums[name, "first"] + sums[name, "second"] == figure, name
    for name in ("first", "second"):
        assert sums["legs", name] == sum(event.endpoint_name == name for event in opened)
        resets = sum(event.endpoint_name == name and event.resumes for event in ended)
        assert sums.get(("leg.resets", name), 0) == resets
        for idle in ("session.active", "leg.active", "journal.size"):
            assert sums[idle, name] == 0, idle


def assert_broken_off(heard, audio, chunks):
    """There is one error, about the missing audio; everything before it came once and in order."""
    (error,) = heard.errors
    assert isinstance(error, RetriesExhaustedError)
    assert error.seconds_unacknowledged > 0 or audio is OGG
    for words in heard.words.values():
        assert words == list(range(len(words)))
        # Without a clock it is unknown whether this was all of the audio.
        assert len(words) < chunks or audio is OGG or audio is STEREO


@pytest.mark.patience(120)
@pytest.mark.parametrize(
    "first",
    [
        0,
        *(
            pytest.param(first * SCHEDULES, marks=pytest.mark.full, id=f"{first * SCHEDULES}")
            for first in range(1, 10)
        ),
    ],
)
async def test_nothing_is_lost_whatever_goes_wrong(first):
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(seed):
        async with turns, asyncio.timeout(60):
            return await one(seed)

    seeds = range(first, first + SCHEDULES)
    outcomes = await asyncio.gather(*map(in_turn, seeds), return_exceptions=True)
    failures = {s: o for s, o in zip(seeds, outcomes, strict=True) if isinstance(o, BaseException)}
    if failures:
        for seed, failure in failures.items():
            failure.add_note(f"seed {seed}")
        raise BaseExceptionGroup("schedules under which something went wrong", [*failures.values()])
    struck = sum(faults > 0 for faults, _ in outcomes)
    assert struck >= SCHEDULES * 0.7
    stats = [heard.stats for _, heard in outcomes]
    assert sum(sum(each.resets.values()) for each in stats) >= SCHEDULES * 0.7
    assert sum(each.rollovers for each in stats) >= 20
    assert sum(len(heard.metadata) for _, heard in outcomes) >= SCHEDULES * 0.8
    assert sum(bool(heard.errors) for _, heard in outcomes) <= SCHEDULES * 0.1


@pytest.mark.patience(120)
@pytest.mark.parametrize(
    "first",
    [0, *(pytest.param(at, marks=pytest.mark.full, id=f"{at}") for at in range(40, 400, 40))],
)
async def test_nothing_is_lost_whatever_goes_wrong_at_two_endpoints(first):
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(seed):
        async with turns, asyncio.timeout(60):
            return await one_of_two(seed)

    seeds = range(first, first + 40)
    outcomes = await asyncio.gather(*map(in_turn, seeds), return_exceptions=True)
    failures = [each for each in outcomes if isinstance(each, BaseException)]
    if failures:
        raise BaseExceptionGroup("schedules under which something went wrong", failures)
    assert sum(faults > 0 for faults, _, _ in outcomes) >= len(seeds) * 0.7
    stats = [each for _, _, each in outcomes]
    assert sum(each.fallovers for each in stats) >= len(seeds)
    assert sum(len(each.legs_at) == 2 for each in stats) >= len(seeds) * 0.5
    assert sum(bool(heard.errors) for _, heard, _ in outcomes) <= len(seeds) * 0.1


FEW, MANY, BATCH = 100, 10_000, 250
"""Schedules of a run, of a full one, and of one test."""


def pytest_generate_tests(metafunc):
    """Runs a test with the number of seeds that the options ask for, in batches."""
    if "seeds" not in metafunc.fixturenames:
        return
    config = metafunc.config
    count = config.getoption("--schedules") or (MANY if config.getoption("--full") else FEW)
    first = config.getoption("--first")
    ends = range(first, first + count)
    batches = [ends[at : at + BATCH] for at in range(0, count, BATCH)]
    metafunc.parametrize("seeds", batches, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")


@pytest.mark.patience(600)
async def test_everything_comes_once_and_in_order_or_there_is_an_error(seeds, record_property):
    """Faults repeated up to eight times, on every product, before and after its closing message."""
    outcomes, failures = await run_all(seeds, AT_ONCE)
    record_property("schedules", tally(outcomes, failures))
    if failures:
        raise BaseExceptionGroup("schedules under which something went wrong", [*failures.values()])
    if len(seeds) >= FEW:
        struck = sum(outcome.struck > 0 for outcome in outcomes.values())
        assert struck >= len(seeds) * 0.7
        whole = sum(outcome.error is None for outcome in outcomes.values())
        assert len(seeds) * 0.4 <= whole <= len(seeds) * 0.9
