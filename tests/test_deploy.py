"""The dashboard, the alerts and the docs' queries, on a real Prometheus that scrapes a run."""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from deepgram.transport import restore_transport
from deepgram_sagemaker import SageMakerTransportFactory
from deepgram_sagemaker.errors import RetriesExhaustedError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterNewChunks, Answer, Fault, Reset
from deepgram_sagemaker.meters import Meters
from deepgram_sagemaker.otel import Telemetry
from deepgram_sagemaker.stats import add_up
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, start_http_server
from sessions import LISTEN_URL, client_of_factory, session, until

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "observability.md").read_text()
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
ALERTS = ROOT / "deploy" / "alerts.yaml"


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: nothing was tried")
    return path


def rows(head):
    """The rows of the table in the docs that begins with a head."""
    table = DOCS.partition(f"| {head} |")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()[2:]
        if line.startswith("|")
    ]


def test_the_docs_list_every_metric_with_its_type_and_unit():
    class Meter:
        def __init__(self):
            self.made = {}

        def create_counter(self, name, unit, _about):
            self.made[name] = ("counter", unit)

        def create_histogram(self, name, unit, _about, **_):
            self.made[name] = ("histogram", unit)

        def create_observable_counter(self, name, _callbacks, unit, _about):
            self.made[name] = ("counter", unit)

        def create_observable_up_down_counter(self, name, _callbacks, unit, _about):
            self.made[name] = ("up-down counter", unit)

        def create_observable_gauge(self, name, _callbacks, unit, _about):
            self.made[name] = ("gauge", unit)

    meter = Meter()
    Meters(meter, dict)
    listed = {row[0].strip("`"): (row[1], row[2].strip("`")) for row in rows("Metric")}
    assert listed == meter.made
    for name, (_, unit) in listed.items():
        assert re.fullmatch(r"deepgram_sagemaker(\.[a-z_]+)+", name)
        assert re.fullmatch(r"s|By|\{[a-z]+\}", unit)


def test_the_alert_rules_are_well_formed_and_do_what_they_say():
    promtool = tool("promtool")
    subprocess.run([promtool, "check", "rules", ALERTS], check=True, capture_output=True)
    tests = ALERTS.with_name("alerts.test.yaml")
    ran = subprocess.run(
        [promtool, "test", "rules", tests.name],
        cwd=tests.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_dashboard_has_no_panel_twice_and_no_gap():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels})
    assert len(panels) >= 10
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["description"]
        assert panel["targets"]


@pytest.mark.full
def test_the_picture_of_a_trace_is_made_and_all_views_agree(tmp_path):
    picture = tmp_path / "pictures" / "trace.svg"
    ran = subprocess.run(
        [sys.executable, ROOT / "tools" / "show_trace.py", picture],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "All views agree" in ran.stdout
    bars = ET.parse(picture).iter("{http://www.w3.org/2000/svg}rect")
    # The ground, the session and four legs.
    assert len(list(bars)) == 6


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """A running Prometheus with our rules, which scrapes a port five times a second."""

    def __init__(self, path, directory, scraped):
        self.url = f"http://127.0.0.1:{free_port()}"
        config = directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"
            f"rule_files: ['{ALERTS}']\n"
            "scrape_configs:\n"
            f"- {{job_name: app, static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]}}\n"
        )
        self._process = subprocess.Popen(
            [
                path,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
                "--log.level=error",
            ]
        )

    def stop(self):
        self._process.terminate()
        self._process.wait(20)

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:
            said = json.load(answer)
        assert said["status"] == "success"
        return said["data"]

    def query(self, expression):
        """The values of a query now, by their labels."""
        data = self.get("query", query=expression)
        assert data["resultType"] == "vector"
        return {
            tuple(sorted(each["metric"].items())): float(each["value"][1])
            for each in data["result"]
        }

    def wait(self, question, within=30.0):
        """Waits until a question has an answer, and returns it."""
        until = time.monotonic() + within
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                answer = question(self)
                if answer:
                    return answer
            assert time.monotonic() < until, "Prometheus has no answer"
            time.sleep(0.1)


@pytest.fixture
def scraped(tmp_path):
    """A meter provider, and a Prometheus that scrapes what it reads."""
    path = tool("prometheus")
    registry = CollectorRegistry()
    provider = MeterProvider([PrometheusMetricReader(registry=registry)])
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    prometheus = Prometheus(path, tmp_path, server.server_port)
    try:
        yield provider, prometheus
    finally:
        prometheus.stop()
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()


async def a_day_of_work(provider, is_seen):
    """Sessions with resets, rollovers, loss, two endpoints, and one that gives up. Their figures.

    `is_seen` waits until the first sessions have been scraped: a rate needs something before.
    """
    telemetry = Telemetry(meter_provider=provider)
    figures = []

    async def run(endpoint, chunks, sessions=1, *, pace=None, **settings):
        factory = SageMakerTransportFactory(config=endpoint.config(**settings), telemetry=telemetry)
        client = client_of_factory(factory)

        async def are_open():
            # Otherwise everything may have been sent before, and a session that closes does not
            # roll over.
            await until(lambda: factory.stats.legs >= sessions)

        await asyncio.gather(
            *(
                session(client, chunks, pace=pace, gate=are_open, tag=str(each))
                for each in range(sessions)
            )
        )
        restore_transport()
        figures.append(factory.stats)

    resets = [Fault(Reset(), when=AfterNewChunks(40), times=2, scope="conversation")]
    async with LocalEndpoint("resets", faults=resets) as endpoint:
        await run(endpoint, 120, 3, initial_backoff=0.01)
        await asyncio.to_thread(is_seen, figures[0].sessions)
        await run(endpoint, 10)
    async with LocalEndpoint("rollovers", model=Watermark(late_chunks=3)) as endpoint:
        await run(endpoint, 100, pace=0.01, max_leg_age=0.3)
    loses = [Fault(Reset(), when=AfterNewChunks(75))]
    async with LocalEndpoint("loses", model=Watermark(late_chunks=40), faults=loses) as endpoint:
        await run(endpoint, 160, pace=0.005, max_replay_buffer_bytes=0)
    moves = [Fault(Reset(), when=AfterNewChunks(40), scope="conversation")]
    async with (
        LocalEndpoint("moves", faults=moves) as endpoint,
        LocalEndpoint("goes-on", region="us-west-2") as second,
    ):
        await run(endpoint, 80, 3, fallbacks=[second.as_fallback()])
    refuses = Fault(Answer(500, "InternalFailure"), times=None)
    async with LocalEndpoint("down", faults=[refuses]) as endpoint:
        config = endpoint.config(max_retries=2, initial_backoff=0.01)
        factory = SageMakerTransportFactory(config=config, telemetry=telemetry)
        transport = factory(LISTEN_URL)
        with pytest.raises(RetriesExhaustedError):
            await transport.open()
        await transport.close()
        figures.append(factory.stats)
    return add_up(figures)


QUERIES = dict(rows("Question"))


@pytest.mark.patience(120)
def test_prometheus_has_the_figures_of_stats_and_fires_the_alerts(scraped):
    provider, prometheus = scraped

    def is_seen(sessions):
        query = "sum(deepgram_sagemaker_session_duration_seconds_count)"
        prometheus.wait(lambda p: sessions in p.query(query).values())

    stats = asyncio.run(a_day_of_work(provider, is_seen))
    assert stats.rollovers > 0
    assert stats.seconds_lost > 0
    assert stats.resets["reset"] == 10
    assert stats.fallovers == 3

    def asked(question):
        expression = QUERIES[question].strip("`")
        return prometheus.query(expression)

    def one(question):
        ((_, value),) = asked(question).items()
        return value

    last = "How many sessions have ended?"
    prometheus.wait(lambda _: asked(last) and one(last) == stats.sessions)
    assert one("How many sessions go on?") == 0
    assert one("How much audio was lost?") == pytest.approx(stats.seconds_lost)
    assert one("How much was sent?") == pytest.approx(stats.seconds_sent)
    assert one("How much is final?") == pytest.approx(stats.seconds_acknowledged)
    assert one("How much was sent again?") == pytest.approx(stats.seconds_replayed)
    assert one("How many rollovers were there?") == stats.rollovers
    assert one("How many streams were opened?") == stats.legs
    assert one("How far behind are the results?") == 0

    def at_each(question):
        return {
            dict(labels)["deepgram_sagemaker_endpoint_name"]: value
            for labels, value in asked(question).items()
        }

    failed = at_each("At which endpoint do streams fail?")
    assert failed == {"resets": 6, "loses": 1, "moves": 3, "down": 3}
    assert {*at_each("Where are the sessions?").items()} == {
        (name, 0) for name in ("resets", "rollovers", "loses", "moves", "goes-on", "down")
    }
    broken = asked("How many streams broke, by how they ended?")
    assert {dict(labels)["error_type"]: count for labels, count in broken.items()} == stats.resets
    slow = "How long does it take to open a stream (p95, 5 minutes)?"
    assert prometheus.wait(lambda _: asked(slow) and one(slow) > 0)

    # Every panel of the dashboard shows something.
    known = {"$__rate_interval": "10s", "$__range": "5m", "$endpoint": ".*", "$path": ".*"}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in known.items():
                expression = expression.replace(name, value)
            # A rate needs two scrapes.
            assert prometheus.wait(lambda p, what=expression: p.query(what)), panel["title"]

    def firing(prometheus):
        alerts = prometheus.get("alerts")["alerts"]
        return {
            (each["labels"]["alertname"], each["labels"]["deepgram_sagemaker_endpoint_name"])
            for each in alerts
            if each["state"] == "firing"
        }

    expected = {("DeepgramAudioLost", "loses"), ("DeepgramRetriesExhausted", "down")}
    assert prometheus.wait(lambda p: firing(p) >= expected and firing(p)) == expected
