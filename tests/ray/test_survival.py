"""Archives whose workers and drivers are killed: each recording once, none lost."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from batches import archive, finished, heard, kill, number_of, text, workers
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.ray import transcribe

RECORDINGS = 200
STREAMS = 16


@pytest.mark.patience(120)
def test_a_worker_is_killed(cluster, tmp_path):
    paths = archive(tmp_path / "calls", RECORDINGS)
    output = tmp_path / "out"
    seen = {}

    def kill_one():
        while len(done := finished(output)) < 50:
            if over.wait(0.05):
                return
        seen["done"] = done
        seen["victim"] = workers()[0]
        kill(seen["victim"])

    over = threading.Event()
    killer = threading.Thread(target=kill_one)
    with LocalEndpoint(record_arrivals=True) as endpoint:
        killer.start()
        try:
            results = transcribe(
                tmp_path / "calls",
                config=endpoint.config(boto3_session=None),
                output=output,
                streams=STREAMS,
                workers=2,
                speed=2,
            )
        finally:
            over.set()
            killer.join()
        stats, times = endpoint.stats, heard(endpoint)
    rows = results.take_all()
    assert Counter(row["path"] for row in rows) == {str(path): 1 for path in paths}
    assert all(row["error"] is None for row in rows)
    assert all(row["text"] == text(number_of(row["path"])) for row in rows)
    assert stats.most_live_streams <= STREAMS
    # What was finished is not done again, and of the rest no more than the worker had under way.
    assert all(times[number_of(path)] == 1 for path in seen["done"])
    assert RECORDINGS < sum(times.values()) <= RECORDINGS + STREAMS
    assert max(times.values()) == 2


DRIVER = """
import sys
import ray
from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.ray import transcribe

address, uri, ca_bundle, calls, output = sys.argv[1:]
ray.init(address, log_to_driver=False)
config = SageMakerConfig("local", "us-east-1", endpoint_uri=uri, ca_bundle=ca_bundle, proxy="")
transcribe(calls, config=config, query={"model": "nova-3"}, output=output, streams=16)
"""


@pytest.mark.patience(120)
def test_a_driver_is_killed(cluster, tmp_path):
    paths = archive(tmp_path / "calls", 60)
    output = tmp_path / "out"
    with LocalEndpoint(record_arrivals=True) as endpoint:
        arguments = (cluster, endpoint.uri, endpoint.ca_bundle, tmp_path / "calls", output)
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, arguments)])
        try:
            while len(done := finished(output)) < 20:
                assert driver.poll() is None
                time.sleep(0.05)
            driver.send_signal(signal.SIGKILL)
        finally:
            driver.kill()
            driver.wait()
        results = transcribe(
            tmp_path / "calls",
            config=endpoint.config(boto3_session=None),
            output=output,
            streams=STREAMS,
        )
        stats, times = endpoint.stats, heard(endpoint)
    rows = results.take_all()
    assert Counter(row["path"] for row in rows) == {str(path): 1 for path in paths}
    assert all(row["text"] == text(number_of(row["path"])) for row in rows)
    assert stats.most_live_streams <= STREAMS
    assert all(times[number_of(path)] == 1 for path in done)
    assert sum(times.values()) <= 60 + STREAMS
    # Nothing is left but the output.
    assert {each.name for each in output.iterdir()} == {
        "_batch.json",
        "_errors",
        "_progress",
        *(each.name for each in output.glob("part-*.parquet")),
    }
    assert not list((output / "_progress").iterdir())
