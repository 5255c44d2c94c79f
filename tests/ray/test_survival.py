"""Archives whose workers and drivers are killed: each recording once, none lost."""

import threading
from collections import Counter

import pytest
from batches import QUERY, archive, finished, heard, kill, number_of, text, workers
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
                query=QUERY,
                output=output,
                streams=STREAMS,
                workers=2,
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
