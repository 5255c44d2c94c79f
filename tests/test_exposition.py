"""Prometheus text without OpenTelemetry: the same as its exporter writes, and sums of processes."""

import json
import math
import shutil
import subprocess
import sys

import pytest
from deepgram.transport import restore_transport
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.errors import RetriesExhaustedError
from deepgram_sagemaker.exposition import Exposition, Family, Histogram, merged, to_text
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterNewChunks, Answer, Fault, Reset
from deepgram_sagemaker.meters import Several
from deepgram_sagemaker.otel import Telemetry
from deepgram_sagemaker.services import Services
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sessions import LISTEN_URL, client_of_factory, run_script, session

MINE = "deepgram_sagemaker_"


def parsed(text):
    """Type, help and samples of each metric, by name, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(text):
        samples = {}
        for sample in family.samples:
            # To Prometheus an empty label is none.
            labels = {
                name: value
                for name, value in sample.labels.items()
                if value and "otel_scope" not in name
            }
            key = (sample.name, tuple(sorted(labels.items())))
            assert key not in samples
            samples[key] = sample.value
        found[family.name] = (family.type, family.documentation, samples)
    return found


def factory_of(telemetry, config):
    """A factory whose sessions are measured by this."""
    factory = SageMakerTransportFactory(config=config)
    factory._telemetry = telemetry
    return factory


async def a_bad_day(telemetry):
    """Sessions with resets, a rollover, a loss, and one that gives up, as they are measured."""
    resets = [Fault(Reset(), when=AfterNewChunks(40), times=2)]
    async with LocalEndpoint("resets", faults=resets) as endpoint:
        factory = factory_of(telemetry, endpoint.config(initial_backoff=0.01))
        await session(client_of_factory(factory), 120)
        restore_transport()
    loses = [Fault(Reset(), when=AfterNewChunks(75))]
    async with LocalEndpoint("loses", model=Watermark(late_chunks=40), faults=loses) as endpoint:
        factory = factory_of(telemetry, endpoint.config(max_replay_buffer_bytes=0))
        await session(client_of_factory(factory), 160, pace=0.003)
        restore_transport()
    refuses = Fault(Answer(500, "InternalFailure"), times=None)
    async with LocalEndpoint("down", faults=[refuses]) as endpoint:
        config = endpoint.config(max_retries=2, initial_backoff=0.01)
        transport = factory_of(telemetry, config)(LISTEN_URL)
        with pytest.raises(RetriesExhaustedError):
            await transport.open()
        await transport.close()


@pytest.fixture(scope="module")
def both():
    """The same sessions in our text and in that of OpenTelemetry's exporter."""
    import asyncio

    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry)])
    ours = Exposition()
    asyncio.run(a_bad_day(Several(ours, Telemetry(meter_provider=provider))))
    theirs = generate_latest(registry).decode()
    text = to_text(ours.snapshot())
    provider.shutdown()
    return text, theirs


def test_it_writes_what_opentelemetry_s_exporter_writes(both):
    ours, theirs = map(parsed, both)
    theirs = {name: said for name, said in theirs.items() if name.startswith(MINE)}
    assert ours.keys() == theirs.keys()
    for name, (kind, about, samples) in theirs.items():
        assert ours[name][:2] == (kind, about), name
        assert ours[name][2].keys() == samples.keys(), name
        for key, value in samples.items():
            assert ours[name][2][key] == pytest.approx(value), key
    # The day was bad enough to show something.
    assert ours[f"{MINE}leg_resets"][2]
    assert ours[f"{MINE}leg_failures"][2]
    assert sum(ours[f"{MINE}audio_lost_time_seconds"][2].values()) > 0
    assert sum(ours[f"{MINE}audio_replayed_size_bytes"][2].values()) > 0


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_no_mistake(both):
    ran = subprocess.run(
        ["promtool", "check", "metrics"],
        input=both[0],
        capture_output=True,
        text=True,
        check=False,
    )
    # Its advice on style does not fit names that are given: `..._time_seconds` and counts of bytes.
    assert "error" not in (ran.stdout + ran.stderr).lower()
    assert ran.returncode in (0, 3), ran.stderr


def test_labels_and_help_with_odd_characters_are_read_back():
    family = Family("odd", "sum", "a\\b\nc")
    odd = 'a"b\\c\nd\\n'
    family.series[(("name", odd),)] = 1.5
    ((kind, about, samples),) = parsed(to_text([family])).values()
    assert (kind, about) == ("gauge", "a\\b\nc")
    assert samples == {("odd", (("name", odd),)): 1.5}


def counted(name, kind, value, **labels):
    return Family(name, kind, "about", {tuple(sorted(labels.items())): value})


def test_processes_add_up_and_ended_ones_keep_what_they_counted():
    def snapshot(sessions, active, lag, waits):
        histogram = Histogram((1.0, 2.0), [0, 0, 0])
        for each in waits:
            histogram.record(each)
        return [
            counted("sessions_total", "counter", sessions, path="v1/listen"),
            counted("active", "sum", active, path="v1/listen"),
            counted("lag", "gauge", lag, path="v1/listen"),
            counted("waits", "histogram", histogram),
        ]

    one, other, ended = (
        snapshot(3, 2, 0.5, [0.5, 1.0]),
        snapshot(4, 1, 7.5, [1.5, 9.0]),
        snapshot(100, 50, 99.0, [2.0]),
    )
    (only_path,) = one[0].series
    whole = {family.name: family.series for family in merged([one, other], [ended])}
    assert whole["sessions_total"] == {only_path: 107}
    assert whole["active"] == {only_path: 3}
    assert whole["lag"] == {only_path: 7.5}
    assert whole["waits"][()] == Histogram((1.0, 2.0), [2, 2, 1], 14.0)
    # What was added up is unchanged, and can be added up again.
    assert one == snapshot(3, 2, 0.5, [0.5, 1.0])
    (waits,) = (each for each in parsed(to_text(merged([one, other]))).items() if "waits" in each)
    assert waits[1][2][("waits_bucket", (("le", "+Inf"),))] == 4
    assert waits[1][2][("waits_bucket", (("le", "1.0"),))] == 2
    assert waits[1][2][("waits_sum", ())] == 12.0


def test_a_process_that_has_a_series_of_its_own_is_not_left_out():
    here = counted("failures_total", "counter", 1, reason="reset")
    there = counted("failures_total", "counter", 2, reason="dropped")
    (family,) = merged([[here], [there]])
    assert sum(family.series.values()) == 3


def test_a_snapshot_travels_as_json(both):
    import asyncio

    ours = Exposition()
    asyncio.run(a_quick_session(ours))
    families = ours.snapshot()
    told = json.dumps([family.plain() for family in families])
    assert [Family.from_plain(each) for each in json.loads(told)] == families
    for wrong in ({}, {"name": "x", "kind": "sum", "about": "", "series": [[1]]}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            Family.from_plain(wrong)


async def a_quick_session(telemetry):
    async with LocalEndpoint() as endpoint:
        factory = factory_of(telemetry, endpoint.config())
        await session(client_of_factory(factory), 20)
        restore_transport()


def test_a_border_belongs_to_the_bucket_below_it():
    histogram = Histogram((1.0, 2.0), [0, 0, 0])
    for value in (0.0, 1.0, 1.1, 2.0, 2.1, math.inf):
        histogram.record(value)
    assert histogram.counts == [2, 2, 2]


def test_openings_that_wait_are_counted_while_their_factory_lives():
    ours = Exposition()
    watch = ours.watch([(SageMakerConfig("mine", "us-east-1"), lambda: 3)])
    (family,) = ours.snapshot()
    assert family.name == f"{MINE}leg_waiting"
    assert list(family.series.values()) == [3]
    del watch
    assert [list(each.series.values()) for each in ours.snapshot()] in ([], [[0]])


def test_it_needs_no_opentelemetry():
    ran = run_script(
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from deepgram_sagemaker import SageMakerConfig\n"
        "from deepgram_sagemaker.services import Services\n"
        "from deepgram_sagemaker.exposition import Exposition, to_text\n"
        "ours = Exposition()\n"
        "services = Services(SageMakerConfig('mine', 'us-east-1'), telemetry=ours)\n"
        "assert services.watch is not None\n"
        "print(to_text(ours.snapshot()))\n"
    )
    assert ran.returncode == 0, ran.stderr
    assert f'{MINE}leg_waiting{{cloud_region="us-east-1"' in ran.stdout


async def test_services_take_whatever_measures():
    ours = Exposition()
    services = Services(SageMakerConfig("mine", "us-east-1"), telemetry=ours)
    assert services.watch is services.watch
    assert "opentelemetry" in sys.modules
    assert [each.name for each in ours.snapshot()] == [f"{MINE}leg_waiting"]
