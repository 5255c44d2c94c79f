"""Traces and metrics: what an application's own OpenTelemetry gets, and that nothing else does."""

import asyncio
import gc
import os
import pickle
import sys
import threading
import time
from collections import Counter

import pytest
from deepgram.transport import restore_transport
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import RetriesExhaustedError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterChunks,
    AfterNewChunks,
    Answer,
    Fault,
    NeverAnswer,
    Reset,
)
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.otel import Telemetry
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricExporter,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode
from sessions import CHUNK, LISTEN_URL, client_of_factory, run_script, session, until

PREFIX = "deepgram_sagemaker."


class Seen:
    """What an application's OpenTelemetry gets."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters)

    def factory(self, endpoint, **settings):
        config = endpoint.config(**settings)
        return SageMakerTransportFactory(config=config, telemetry=self.telemetry)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def points(self, name):
        """The points of a metric now, by the attributes that not all of them have."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        found = {}
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                assert scope.scope.name == "deepgram_sagemaker"
                for metric in scope.metrics:
                    if metric.name == PREFIX + name:
                        for point in metric.data.data_points:
                            more = dict(point.attributes)
                            for common in ("endpoint.name", "path"):
                                more.pop(PREFIX + common, None)
                            more.pop("cloud.region", None)
                            found[tuple(sorted(more.items()))] = point
        return found

    def value(self, name, **attributes):
        time.sleep(0.11)  # figures are read anew after a tenth of a second
        more = tuple(sorted((key.replace("__", "."), value) for key, value in attributes.items()))
        point = self.points(name)[more]
        return point.count if isinstance(point, HistogramDataPoint) else point.value


@pytest.fixture
def seen():
    seen = Seen()
    yield seen
    seen.meters.shutdown()
    seen.tracers.shutdown()


def attributes(span):
    return {name.removeprefix(PREFIX): value for name, value in span.attributes.items()}


async def test_the_trace_of_a_session_with_resets_and_a_rollover(seen):
    faults = [Fault(Reset(), when=AfterNewChunks(60), times=2)]
    tracer = seen.tracers.get_tracer("the application's")
    async with LocalEndpoint(model=Watermark(late_chunks=5), faults=faults) as endpoint:
        factory = seen.factory(endpoint, max_leg_age=0.4, initial_backoff=0.02)

        async def is_open():
            # Otherwise everything may have been sent before, and a session that closes does not
            # roll over.
            await until(lambda: factory.stats.legs)

        with tracer.start_as_current_span("a request"):
            heard = await session(client_of_factory(factory), 300, pace=0.012, gate=is_open)
    assert heard.numbers == list(range(300))
    stats = factory.stats
    named = {}
    for span in seen.spans:
        named.setdefault(span.name, []).append(span)
    (request,) = named["a request"]
    (whole,) = named["session v1/listen"]
    legs = named["leg v1/listen"]
    assert whole.parent.span_id == request.context.span_id
    assert {leg.parent.span_id for leg in legs} == {whole.context.span_id}
    assert {span.context.trace_id for span in seen.spans} == {request.context.trace_id}
    assert {leg.kind for leg in legs} == {SpanKind.CLIENT}
    # The figures are those of `stats`.
    said = attributes(whole)
    for name in ("legs", "attempts", "rollovers", "seconds_sent", "seconds_replayed", "bytes_sent"):
        assert said[name] == getattr(stats, name)
    assert (said["outcome"], said["resets"], said["path"]) == ("finished", 2, "v1/listen")
    happened = [event.name for event in whole.events]
    assert happened.count("reset") == sum(stats.resets.values()) == 2
    assert happened.count("rolled_over") == stats.rollovers
    assert happened.count("first_result") == 1
    assert "gap" not in happened
    assert len(legs) == stats.legs
    assert whole.status.status_code == StatusCode.UNSET
    broken = [leg for leg in legs if leg.status.status_code == StatusCode.ERROR]
    assert [leg.attributes["error.type"] for leg in broken] == ["reset", "reset"]
    for span in (whole, *legs):
        assert request.start_time <= whole.start_time <= span.start_time < span.end_time
        assert span.end_time <= whole.end_time
        assert all(span.start_time <= each.timestamp <= span.end_time for each in span.events)
    assert all(leg.attributes["aws.request_id"] for leg in legs)
    assert sorted(attributes(leg)["leg"] for leg in legs) == list(range(stats.legs))


def test_threads_that_begin_at_once_make_one_watch(seen):
    together = threading.Barrier(2, timeout=10)

    class Slow(Telemetry):
        def watch(self, *about):
            together.wait()
            return super().watch(*about)

    telemetry = Slow(tracer_provider=seen.tracers, meter_provider=seen.meters)
    watches = []
    with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config(), telemetry=telemetry)

        async def one():
            transport = factory(LISTEN_URL)
            watches.append(transport._services.watch)
            await transport.open()
            await transport.close()

        threads = [threading.Thread(target=asyncio.run, args=[one()]) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    first, second = watches
    assert first is second
    assert seen.value("session.duration") == 2
    names = [span.name for span in seen.exporter.get_finished_spans()]
    assert sorted(names) == ["leg v1/listen"] * 2 + ["session v1/listen"] * 2


async def test_the_metrics_of_sessions_are_the_figures_of_stats(seen):
    faults = [Fault(Reset(), when=AfterChunks(40), scope="conversation")]
    async with LocalEndpoint(faults=faults) as endpoint:
        factory = seen.factory(endpoint, initial_backoff=0.01)
        client = client_of_factory(factory)
        await asyncio.gather(*(session(client, 60, tag=str(number)) for number in range(3)))
        transport = factory(LISTEN_URL)
        await transport.open()
        for number in range(5):
            await transport.send(chunk(number, CHUNK))
        await until(lambda: transport.stats.bytes_sent == 5 * CHUNK)
        stats = factory.stats
        assert seen.value("session.active") == seen.value("leg.active") == 1
        assert seen.value("audio.lag") == pytest.approx(
            transport.stats.seconds_sent - transport.stats.seconds_acknowledged
        )
        assert seen.value("journal.size") == transport.stats.journal_bytes > 0
        await transport.send({"type": "CloseStream"})
        await transport.close()
        stats = factory.stats
    for metric, figure in {
        "sessions": "sessions",
        "leg.requests": "attempts",
        "legs": "legs",
        "rollovers": "rollovers",
        "fallovers": "fallovers",
        "audio.sent.time": "seconds_sent",
        "audio.sent.size": "bytes_sent",
        "audio.acknowledged.time": "seconds_acknowledged",
        "audio.replayed.time": "seconds_replayed",
        "audio.replayed.size": "bytes_replayed",
        "audio.lost.time": "seconds_lost",
        "messages.sent": "messages_in",
        "messages.received": "messages_out",
    }.items():
        assert seen.value(metric) == pytest.approx(getattr(stats, figure)), metric
    assert seen.value("leg.resets", error__type="reset") == stats.resets["reset"] == 3
    assert seen.value("leg.open.duration") == stats.legs == 7
    assert seen.value("session.duration") == stats.sessions == 4
    assert seen.value("session.time_to_first_result") == 4
    phase = {f"{PREFIX.replace('.', '__')}leg__phase": "stream"}
    assert seen.value("leg.failures", error__type="reset", **phase) == 3
    assert seen.value("leg.retries") == 3
    for idle in ("session.active", "leg.active", "journal.size", "audio.lag", "leg.waiting"):
        assert seen.value(idle) == 0, idle


async def test_failures_are_counted_and_marked(seen):
    fault = Fault(Answer(429, "ThrottlingException"), times=None)
    async with LocalEndpoint(faults=[fault]) as endpoint:
        factory = seen.factory(endpoint, max_retries=2, initial_backoff=0.01)
        transport = factory(LISTEN_URL)
        with pytest.raises(RetriesExhaustedError):
            await transport.open()
        await transport.close()
    phase = {f"{PREFIX.replace('.', '__')}leg__phase": "open"}
    assert seen.value("leg.failures", error__type="throttled", **phase) == 3
    assert seen.value("leg.open.duration", error__type="throttled") == 3
    assert seen.value("leg.retries") == 2
    assert seen.value("session.duration", error__type="RetriesExhaustedError") == 1
    *legs, whole = seen.spans
    assert (whole.status.status_code, whole.attributes["error.type"]) == (
        StatusCode.ERROR,
        "RetriesExhaustedError",
    )
    for leg in legs:
        assert leg.status.status_code == StatusCode.ERROR
        assert leg.attributes["http.response.status_code"] == 429
        assert leg.attributes["error.type"] == "throttled"
        assert leg.attributes["aws.request_id"]


async def test_openings_that_wait_are_counted(seen):
    async with LocalEndpoint(faults=[Fault(NeverAnswer(), times=None)]) as endpoint:
        factory = seen.factory(endpoint, max_concurrency=1)
        transports = [factory(LISTEN_URL) for _ in range(3)]
        waiting = [asyncio.create_task(each.recv()) for each in transports]
        await until(lambda: endpoint.stats.opens == 1)
        await until(lambda: seen.value("leg.waiting") == 2)
        for each in transports:
            await each.close()
        await asyncio.gather(*waiting)
    assert seen.value("leg.waiting") == 0


async def test_a_session_belongs_to_the_request_that_opened_it(seen):
    """Not to whoever happens to send first, and the request's context is let go."""
    tracer = seen.tracers.get_tracer("the application's")
    async with LocalEndpoint() as endpoint:
        factory = seen.factory(endpoint)
        with tracer.start_as_current_span("opens") as opens:
            transport = factory(LISTEN_URL)
        with tracer.start_as_current_span("sends"):
            await transport.send({"type": "CloseStream"})
        assert transport._opened_in is None
        await transport.close()
    whole = next(span for span in seen.spans if span.name.startswith("session"))
    assert whole.parent.span_id == opens.get_span_context().span_id


async def test_sessions_of_a_task_group_belong_each_to_its_own_span(seen):
    tracer = seen.tracers.get_tracer("the application's")
    async with LocalEndpoint() as endpoint:
        client = client_of_factory(seen.factory(endpoint))

        async def call(number):
            with tracer.start_as_current_span(f"call {number}") as span:
                await session(client, 10, tag=str(number))
                # What the session does on the way leaves the application's context alone.
                assert trace.get_current_span() is span

        with tracer.start_as_current_span("all calls"):
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(call(number))
    by_id = {span.context.span_id: span for span in seen.spans}
    calls = [by_id[span.parent.span_id].name for span in seen.spans if "session" in span.name]
    assert sorted(calls) == ["call 0", "call 1", "call 2"]
    legs = [by_id[span.parent.span_id].name for span in seen.spans if "leg" in span.name]
    assert legs == ["session v1/listen"] * 3


async def test_a_session_without_a_span_around_it_begins_a_trace(seen):
    async with LocalEndpoint() as endpoint:
        client = client_of_factory(seen.factory(endpoint))
        await session(client, 10)
        await session(client, 10)
    wholes = [span for span in seen.spans if span.name.startswith("session")]
    assert [whole.parent for whole in wholes] == [None, None]
    assert len({whole.context.trace_id for whole in wholes}) == 2


async def test_a_session_that_a_plain_function_opens_belongs_to_its_span(seen):
    """The span is over before the session has begun, and the session outlives it."""
    tracer = seen.tracers.get_tracer("the application's")
    async with LocalEndpoint() as endpoint:
        factory = seen.factory(endpoint)

        @tracer.start_as_current_span("a plain function")
        def made():
            return factory(LISTEN_URL)

        transport = made()
        (around,) = seen.spans
        with tracer.start_as_current_span("another request"):
            await transport.open()
        await transport.close()
    whole = next(span for span in seen.spans if span.name.startswith("session"))
    assert whole.parent.span_id == around.context.span_id
    assert whole.start_time >= around.end_time


async def test_a_span_that_is_not_sampled_has_no_session_s(seen):
    """The parent decides, as OpenTelemetry's samplers have it."""
    tracers = TracerProvider(sampler=ParentBased(ALWAYS_OFF))
    tracers.add_span_processor(SimpleSpanProcessor(seen.exporter))
    telemetry = Telemetry(tracer_provider=tracers, meter_provider=seen.meters)
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config(), telemetry=telemetry)
        with tracers.get_tracer("the application's").start_as_current_span("not sampled"):
            await session(client_of_factory(factory), 10)
    assert seen.spans == ()
    assert seen.value("sessions") == 1


class Hangs:
    """An exporter whose server takes nothing, until it is let go."""

    def __init__(self):
        self.asked, self.let_go = threading.Event(), threading.Event()

    def export(self, *_, **__):
        self.asked.set()
        assert self.let_go.wait(60)


class SpansHang(Hangs, SpanExporter):
    pass


class MetricsHang(Hangs, MetricExporter):
    def __init__(self):
        MetricExporter.__init__(self)
        Hangs.__init__(self)

    def force_flush(self, timeout_millis=0):
        return True

    def shutdown(self, timeout_millis=0, **_):
        pass


async def test_exporters_that_hang_hold_no_session():
    spans, figures = SpansHang(), MetricsHang()
    tracers = TracerProvider()
    # One span is a batch, and the queue is full with the second.
    tracers.add_span_processor(
        BatchSpanProcessor(spans, 2, schedule_delay_millis=1, max_export_batch_size=1)
    )
    meters = MeterProvider([PeriodicExportingMetricReader(figures, export_interval_millis=10)])
    telemetry = Telemetry(tracer_provider=tracers, meter_provider=meters)
    fault = Fault(Reset(), when=AfterNewChunks(10), scope="conversation")
    try:
        async with LocalEndpoint(faults=[fault]) as endpoint:
            factory = SageMakerTransportFactory(
                config=endpoint.config(initial_backoff=0.01), telemetry=telemetry
            )
            client = client_of_factory(factory)
            await session(client, 10)
            await until(spans.asked.is_set)
            await until(figures.asked.is_set)
            began = time.monotonic()
            heard = await asyncio.gather(*(session(client, 30, tag=str(n)) for n in range(5)))
            assert time.monotonic() - began < 20
        assert all(each.numbers == list(range(30)) for each in heard)
        assert not spans.let_go.is_set()
        assert factory.stats.resets == {"reset": 6}
    finally:
        spans.let_go.set()
        figures.let_go.set()
        await asyncio.to_thread(tracers.shutdown)
        await asyncio.to_thread(meters.shutdown)


def test_threads_with_loops_of_their_own_are_one_set_of_metrics(seen):
    """While a reader reads. No counter goes back, and at the end the sums are those of `stats`."""
    fault = Fault(Reset(), when=AfterNewChunks(10), scope="conversation")
    over, wrong = threading.Event(), []

    def read():
        highest = {}
        while not over.is_set():
            for name in ("sessions", "legs", "audio.sent.size", "audio.acknowledged.size"):
                for point in seen.points(name).values():
                    if point.value < highest.get(name, 0):
                        wrong.append((name, point.value, highest[name]))
                    highest[name] = point.value

    with LocalEndpoint(faults=[fault]) as endpoint:
        factory = seen.factory(endpoint, initial_backoff=0.01)
        client = client_of_factory(factory)

        async def several(thread):
            await asyncio.gather(*(session(client, 20, tag=f"{thread}-{n}") for n in range(4)))

        reader = threading.Thread(target=read)
        threads = [
            threading.Thread(target=lambda thread=thread: asyncio.run(several(thread)))
            for thread in range(4)
        ]
        reader.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        reader.join()
    assert wrong == []
    stats = factory.stats
    assert (stats.sessions, stats.resets) == (16, {"reset": 16})
    assert seen.value("sessions") == 16
    assert seen.value("legs") == seen.value("leg.open.duration") == stats.legs == 32
    assert seen.value("audio.sent.size") == stats.bytes_sent == 16 * 20 * CHUNK
    assert seen.value("audio.replayed.size") == stats.bytes_replayed
    assert seen.value("session.active") == seen.value("leg.active") == 0
    # Each leg is in its own session's trace.
    by_id = {span.context.span_id: span for span in seen.spans}
    for span in seen.spans:
        if span.name.startswith("leg"):
            whole = by_id[span.parent.span_id]
            assert attributes(whole)["session.id"] == attributes(span)["session.id"]


async def test_two_factories_and_their_past_are_one_set_of_metrics(seen):
    async with LocalEndpoint() as endpoint:
        for _ in range(2):
            await session(client_of_factory(seen.factory(endpoint)), 10)
            restore_transport()
        assert seen.value("sessions") == 2
        assert seen.value("audio.sent.size") == 20 * CHUNK


async def test_counters_do_not_go_back(seen):
    async with LocalEndpoint() as endpoint:
        factory = seen.factory(endpoint)
        client = client_of_factory(factory)
        over = asyncio.Event()
        highest = {}

        async def watch():
            while not over.is_set():
                for name in ("sessions", "audio.sent.time", "audio.acknowledged.time", "legs"):
                    for point in seen.points(name).values():
                        assert point.value >= highest.get(name, 0)
                        highest[name] = point.value
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        for _ in range(5):
            await asyncio.gather(*(session(client, 10) for _ in range(4)))
        over.set()
        await watching
    assert highest["sessions"] > 0


async def test_a_tracer_that_fails_costs_no_session(caplog):
    class Broken(TracerProvider):
        def get_tracer(self, *_, **__):
            tracer = super().get_tracer("broken")
            tracer.start_span = lambda *_, **__: 1 / 0
            return tracer

    telemetry = Telemetry(tracer_provider=Broken(), meter_provider=MeterProvider())
    async with LocalEndpoint() as endpoint:
        factory = SageMakerTransportFactory(config=endpoint.config(), telemetry=telemetry)
        heard = await session(client_of_factory(factory), 10)
    assert heard.numbers == list(range(10))
    assert "an event could not be reported" in caplog.text


def test_the_span_of_a_session_whose_loop_is_closed_is_ended_in_another_thread(seen):
    """What ends it is a finaliser, which may run while this thread holds a lock of the SDK's."""
    held = threading.Lock()
    ended_in = []

    class Locked(SimpleSpanProcessor):
        def on_end(self, span):
            with held:
                ended_in.append(threading.get_ident())
                super().on_end(span)

    seen.tracers.add_span_processor(Locked(InMemorySpanExporter()))
    with LocalEndpoint() as endpoint:
        factory = seen.factory(endpoint)
        kept = []

        async def begin():
            transport = factory(LISTEN_URL)
            await transport.open()
            kept.append(transport)

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)
        loop.run_until_complete(begin())
        loop.close()
        with held, pytest.warns(ResourceWarning, match="never closed"):
            kept.clear()
        deadline = time.monotonic() + 20
        while len(seen.spans) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        gc.collect()
    assert [span.name for span in seen.spans] == ["leg v1/listen", "session v1/listen"]
    assert attributes(seen.spans[1])["outcome"] == "cut"
    assert threading.get_ident() not in ended_in


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_reports_no_figures_of_its_parent(seen):
    with LocalEndpoint() as endpoint:
        asyncio.run(session(client_of_factory(seen.factory(endpoint)), 10))
    assert seen.value("sessions") == 1
    pid = os.fork()
    if not pid:
        time.sleep(0.11)
        os._exit(len(seen.points("sessions")))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def test_no_chunk_and_no_result_passes_telemetry(seen):
    """Once a session is under way, its audio costs what it costs without."""
    called = Counter()

    def note(frame, event, _):
        if event == "call":
            called[frame.f_globals.get("__name__", "")] += 1

    async with LocalEndpoint() as endpoint:
        transport = seen.factory(endpoint)(LISTEN_URL)
        await transport.open()
        for number in range(10):
            await transport.send(chunk(number, CHUNK))
        assert "Results" in await transport.recv()
        await asyncio.sleep(0.1)
        results = 0
        sys.setprofile(note)
        try:
            for number in range(10, 210):
                await transport.send(chunk(number, CHUNK))
                if number % 10 == 9:
                    results += "Results" in await transport.recv()
        finally:
            sys.setprofile(None)
        await transport.close()
    assert results == 20
    assert called["deepgram_sagemaker.transport"] >= 220
    telemetry = ("opentelemetry", "deepgram_sagemaker.otel", "deepgram_sagemaker.events")
    assert {name: count for name, count in called.items() if name.startswith(telemetry)} == {}


# Whether it is on -------------------------------------------------------------------------------

AUTOMATIC = """
import asyncio, sys
use, port, ca = sys.argv[1:]
from deepgram.transport import restore_transport
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
import boto3
config = SageMakerConfig(
    "local", "us-east-1", endpoint_uri=f"https://127.0.0.1:{port}", ca_bundle=ca, proxy="",
    boto3_session=boto3.Session("AKIDLOCALENDPOINT", "local-endpoint"),
)
factory = SageMakerTransportFactory(config=config, telemetry=False if use == "never" else None)
if use in ("yes", "never"):
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

async def main():
    transport = factory("wss://h/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000")
    await transport.send(bytes(640))
    await transport.send({"type": "CloseStream"})
    async for _ in transport:
        pass
    await transport.close()

asyncio.run(main())
if use == "no":
    loaded = [name for name in sys.modules if "opentelemetry" in name or name.endswith(".otel")]
    print(loaded)
else:
    print([span.name for span in exporter.get_finished_spans()])
"""


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("no", "[]"),
        ("yes", "['leg v1/listen', 'session v1/listen']"),
        ("never", "[]"),
    ],
)
def test_it_is_on_where_the_application_uses_opentelemetry(use, said):
    with LocalEndpoint() as endpoint:
        port = endpoint.uri.rpartition(":")[2]
        run = run_script(AUTOMATIC, use, port, str(endpoint.ca_bundle), strict=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == said


NO_SDK = """
import asyncio, logging, sys
port, ca = sys.argv[1:]
sys.modules["opentelemetry.sdk"] = None
from opentelemetry import metrics, trace
import boto3
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
logging.basicConfig(level=logging.WARNING)
config = SageMakerConfig(
    "local", "us-east-1", endpoint_uri=f"https://127.0.0.1:{port}", ca_bundle=ca, proxy="",
    boto3_session=boto3.Session("AKIDLOCALENDPOINT", "local-endpoint"),
)
factory = SageMakerTransportFactory(config=config, telemetry=True)
called = []

def note(frame, event, _):
    name = frame.f_globals.get("__name__", "")
    if event == "call" and ("opentelemetry" in name or name.endswith(".otel")):
        called.append(name)

async def main():
    with trace.get_tracer("mine").start_as_current_span("mine"):
        transport = factory("wss://h/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000")
    await transport.open()
    for _ in range(10):
        await transport.send(bytes(640))
    await asyncio.sleep(0.1)
    sys.setprofile(note)
    for _ in range(200):
        await transport.send(bytes(640))
    sys.setprofile(None)
    await transport.send({"type": "CloseStream"})
    async for _ in transport:
        pass
    await transport.close()

asyncio.run(main())
print(factory.stats.bytes_sent, called)
"""


def test_the_api_without_an_sdk_costs_nothing_and_says_nothing():
    with LocalEndpoint() as endpoint:
        port = endpoint.uri.rpartition(":")[2]
        run = run_script(NO_SDK, port, str(endpoint.ca_bundle), strict=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.strip() == f"{210 * CHUNK} []"


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
from deepgram_sagemaker import SageMakerTransportFactory
SageMakerTransportFactory("ep")
SageMakerTransportFactory("ep", telemetry=False)
try:
    SageMakerTransportFactory("ep", telemetry=True)
except ImportError as error:
    print(error)
"""


def test_without_the_api_it_says_what_to_install():
    run = run_script(WITHOUT)
    assert run.returncode == 0, run.stderr
    assert "pip install 'deepgram-sagemaker[otel]'" in run.stdout


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match="takes a Telemetry or a bool, not str"):
        SageMakerTransportFactory("ep", telemetry="yes")
    factory = SageMakerTransportFactory("ep", telemetry=True)
    assert pickle.loads(pickle.dumps(factory))._telemetry is True
