"""The gateway's own metrics, and the sum over workers that come and go."""

import threading

import pytest
from deepgram_sagemaker.cli.gateway_metrics import GatewayMetrics, SharedFigures, families_of
from deepgram_sagemaker.exposition import Exposition, Family, to_text
from prometheus_client.parser import text_string_to_metric_families


def values(text):
    """The values by name and labels, as Prometheus reads them."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[
                sample.name.removeprefix("deepgram_sagemaker_gateway_"), *sample.labels.values()
            ] = sample.value
    return found


def counted(sessions, active):
    return [
        Family("sessions_total", "counter", "Sessions.", {(("path", "v1/listen"),): sessions}),
        Family("active", "sum", "Going on.", {(): active}),
    ]


def test_counts_become_metrics_with_types_and_refusals_by_status():
    counts = {
        "connections": 3,
        "connections_accepted": 10,
        "conversations": 2,
        "conversations_begun": 7,
        "bytes_in": 640,
        "refused_401": 4,
        "refused_503": 0,
        "untold": 0,
    }
    families = {each.name: each for each in families_of(counts)}
    kinds = {
        name.removeprefix("deepgram_sagemaker_gateway_"): each.kind
        for name, each in families.items()
    }
    assert kinds == {
        "connection_active": "sum",
        "connections_total": "counter",
        "conversation_active": "sum",
        "conversations_total": "counter",
        "received_size_bytes_total": "counter",
        "refusals_total": "counter",
        "workers": "sum",
    }
    found = values(to_text(families.values()))
    assert found["connection_active",] == 3
    assert found["conversations_total",] == 7
    assert found["refusals_total", "401"] == 4
    assert found["refusals_total", "503"] == 0
    assert found["workers",] == 1


def exposed(sessions, active):
    exposition = Exposition()
    exposition.add(lambda: counted(sessions, active))
    exposition.add(lambda: families_of({}))
    return exposition


def test_one_scrape_has_the_sum_of_all_workers(tmp_path):
    shared = SharedFigures(tmp_path)
    workers = [
        GatewayMetrics(exposed(1, 1), shared, "1-aa"),
        GatewayMetrics(exposed(2, 2), shared, "2-bb"),
        GatewayMetrics(exposed(4, 4), shared, "3-cc"),
    ]
    for each in workers:
        each.write()
    for each in workers:
        found = values(each.text())
        assert found["sessions_total", "v1/listen"] == 7
        assert found["active",] == 7
        assert found["workers",] == 3
    # One dies: what it counted stays, what it held is gone.
    shared.end("2-bb")
    for each in (workers[0], workers[2]):
        found = values(each.text())
        assert found["sessions_total", "v1/listen"] == 7
        assert found["active",] == 5
        assert found["workers",] == 2
    # Another one takes its place, and dies as well.
    GatewayMetrics(exposed(8, 8), shared, "2-dd").write()
    assert values(workers[0].text())["sessions_total", "v1/listen"] == 15
    shared.end("2-dd")
    assert values(workers[0].text())["sessions_total", "v1/listen"] == 15
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "live-1-aa.json",
        "live-3-cc.json",
        "past.json",
    ]


def test_a_worker_that_wrote_nothing_ends_too(tmp_path):
    shared = SharedFigures(tmp_path)
    shared.end("1-aa")
    assert values(GatewayMetrics(exposed(1, 1), shared, "2-bb").text())["workers",] == 1


def test_a_figure_never_goes_back_while_workers_die(tmp_path):
    """The folder changes between any two of a reader's steps."""
    shared = SharedFigures(tmp_path)
    reader = GatewayMetrics(exposed(0, 0), shared, "reader")
    total, stop = 50, threading.Event()

    def die():
        for number in range(total):
            shared.write(f"w-{number}", counted(1, 1))
            shared.end(f"w-{number}")
        stop.set()

    dying = threading.Thread(target=die)
    dying.start()
    seen = []
    while not stop.is_set():
        seen.append(values(reader.text())["sessions_total", "v1/listen"])
    dying.join()
    seen.append(values(reader.text())["sessions_total", "v1/listen"])
    assert seen == sorted(seen)
    assert seen[-1] == total


def test_ends_are_counted_by_code_and_by_whom():
    metrics = GatewayMetrics(Exposition())
    for code, by in ((1000, "gateway"), (1000, "gateway"), (None, "lost")):
        metrics.ended(code, by)
    found = values(metrics.text())
    assert found["closes_total", "gateway", "1000"] == 2
    assert found["closes_total", "lost", "none"] == 1


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_spoilt_file_is_an_error_and_not_a_wrong_sum(tmp_path, content):
    (tmp_path / "live-1-aa.json").write_text(content)
    metrics = GatewayMetrics(exposed(1, 1), SharedFigures(tmp_path), "2-bb")
    with pytest.raises((ValueError, TypeError, KeyError)):
        metrics.text()
