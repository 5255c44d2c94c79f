"""`transcribe` on Ray: what goes in, the rows that come out, and what ends it."""

import json
import shutil
import subprocess
import wave

import pyarrow.parquet as pq
import pytest
import ray.data
from batches import QUERY, archive, heard, number_of, recording, text
from deepgram_sagemaker.errors import (
    AuthenticationError,
    ServiceUnavailableError,
)
from deepgram_sagemaker.local import Credentials, Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterAudio, Answer, Reset
from deepgram_sagemaker.ray import OutputError, batch, transcribe
from pyarrow import fs

MANY = {"model": "nova-3", "multichannel": True}


def call(endpoint, recordings, *, query=QUERY, streams=4, workers=1, speed=10, **options):
    return transcribe(
        recordings,
        config=endpoint.config(boto3_session=None, **options.pop("settings", {})),
        query=query,
        streams=streams,
        workers=workers,
        speed=speed,
        **options,
    )


def rows_by_name(dataset):
    found = {}
    for row in dataset.take_all():
        found.setdefault(row["path"].rpartition("/")[2], []).append(row)
    return found


def test_each_recording_has_its_rows(cluster, tmp_path):
    calls, output = tmp_path / "calls", tmp_path / "out"
    mono = recording(calls / "a b#c%20=é.wav", 1)
    recording(calls / "deep" / "er" / "stereo.wav", 2, channels=2)
    recording(calls / ".hidden.wav", 3)
    (calls / "empty.wav").touch()
    (calls / "notes.txt").write_text("no audio")
    bare = calls / "header.wav"
    with wave.open(str(bare), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
    given = [calls, mono, tmp_path / "missing.wav"]
    with LocalEndpoint(record_arrivals=True) as endpoint:
        rows = rows_by_name(call(endpoint, given, query=MANY, output=output, format="jsonl"))
        assert heard(endpoint) == {1: 1, 2: 1}

        # The same call does what failed again, and nothing else.
        recording(calls / "empty.wav", 4)
        again = rows_by_name(call(endpoint, given, query=MANY, output=output, format="jsonl"))
        assert heard(endpoint) == {1: 1, 2: 1, 4: 1}
        opens = endpoint.stats.opens
        kept = call(endpoint, given, query=MANY, output=output, format="jsonl", retry_failed=False)
        assert rows_by_name(kept) == again
        # A call for some of them has the rows of these.
        part = call(endpoint, mono, query=MANY, output=output, format="jsonl")
        assert rows_by_name(part) == {mono.name: again[mono.name]}
        with pytest.raises(OutputError, match=r"begun with query=.*multichannel.*give another"):
            call(endpoint, given, output=output, format="jsonl")
        with pytest.raises(OutputError, match="begun with format='jsonl'"):
            call(endpoint, given, query=MANY, output=output)
        assert endpoint.stats.opens == opens

    (told,) = rows[mono.name]
    assert told["path"] == str(mono)
    assert (told["channel"], told["text"], told["error"]) == (0, text(1), None)
    assert (told["seconds"], told["attempts"], told["resets"]) == (1.0, 1, 0)
    assert [word["word"] for word in told["words"]] == text(1).split()
    assert told["words"][7] == {
        "word": "1007",
        "start": 0.14,
        "end": 0.16,
        "confidence": 1.0,
        "speaker": None,
    }
    assert [(each["start"], each["end"]) for each in told["segments"]] == [
        (0.0, 0.2),
        (0.2, 0.4),
        (0.4, 0.6),
        (0.6, 0.8),
        (0.8, 1.0),
    ]
    assert " ".join(each["text"] for each in told["segments"]) == text(1)
    assert [(row["channel"], row["text"]) for row in rows["stereo.wav"]] == [
        (0, text(2)),
        (1, text(2)),
    ]
    errors = {name: row["error"] for name, (row, *_) in rows.items() if row["error"]}
    assert {name: error["type"] for name, error in errors.items()} == {
        "empty.wav": "AudioError",
        "header.wav": "AudioError",
        "notes.txt": "AudioError",
        "missing.wav": "FileNotFoundError",
    }
    assert errors["empty.wav"]["message"] == "it has no audio"
    (failed,) = rows["notes.txt"]
    assert (failed["attempts"], failed["text"], failed["channel"]) == (1, None, None)
    assert ".hidden.wav" not in rows

    assert again["empty.wav"][0]["text"] == text(4)
    files = sorted(each.name for each in output.iterdir() if not each.name.startswith("_"))
    lines = [
        json.loads(line) for name in files for line in (output / name).read_text().split("\n")[:-1]
    ]
    assert sorted(row["path"].rpartition("/")[2] for row in lines) == sorted(
        [mono.name, "empty.wav", "stereo.wav", "stereo.wav"]
    )
    (kept_errors,) = (output / "_errors").iterdir()
    assert len(kept_errors.read_text().splitlines()) == 3
    assert not list((output / "_progress").iterdir())


def test_the_limit_holds_over_all_workers(cluster, tmp_path, monkeypatch):
    # Ray's patience, in which no worker can start: recordings may take longer than it.
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, "execution_no_progress_timeout_s", 0.5, raising=False)
    archive(tmp_path / "calls", 40, chunks=30)
    # Uneven work: some are ten times as long.
    for number in range(0, 40, 8):
        recording(tmp_path / "calls" / f"call {number:03d}.wav", number, chunks=300)
    faults = [
        Fault(Reset(), AfterAudio(0.2), legs=range(2, 40, 7)),
        Fault(Answer(503), legs=range(6, 40, 9)),
    ]
    with LocalEndpoint(faults=faults) as endpoint:
        results = call(
            endpoint,
            str(tmp_path / "calls"),
            output=tmp_path / "out",
            streams=6,
            workers=2,
            speed=4,
            settings={"max_concurrency": 1},
        )
        stats = endpoint.stats
    results.context.execution_no_progress_timeout_s = -1
    rows = results.take_all()
    assert len(rows) == 40
    assert not any(row["error"] for row in rows)
    for row in rows:
        number = number_of(row["path"])
        assert row["text"] == text(number, chunks=30 if number % 8 else 300)
    # What happens to streams is the sessions' business.
    assert sum(row["resets"] for row in rows) == 6
    assert {row["attempts"] for row in rows} == {1}
    assert stats.most_live_streams == 6
    parts = list((tmp_path / "out").glob("part-*.parquet"))
    assert sum(len(pq.read_table(part)) for part in parts) == 40


def test_a_failure_that_may_pass_is_tried_again(cluster, tmp_path):
    paths = archive(tmp_path / "calls", 2)
    given = ray.data.from_items([{"path": str(each)} for each in [*paths, paths[0]]])
    fault = Fault(Answer(503), legs=range(1, 4))
    with LocalEndpoint(faults=[fault], record_arrivals=True) as endpoint:
        rows = call(endpoint, given, streams=1, attempts=2, settings={"max_retries": 0}).take_all()
    failed, told = sorted(rows, key=lambda row: row["error"] is None)
    assert (failed["attempts"], failed["error"]["status"]) == (2, 503)
    assert failed["error"]["type"] == "ServiceUnavailableError"
    assert (told["attempts"], told["error"]) == (2, None)
    assert told["text"] in (text(0), text(1))


def test_a_service_that_is_away_for_a_while_is_waited_for(cluster, tmp_path):
    paths = archive(tmp_path / "calls", 12)
    fault = Fault(Answer(503), legs=range(4, 11))
    settings = {"max_retries": 0}
    with LocalEndpoint(faults=[fault], record_arrivals=True) as endpoint:
        # One after another: no success comes between these failures.
        rows = call(endpoint, paths, streams=1, attempts=5, settings=settings).take_all()
        assert endpoint.stats.opens == 12 + 7
    assert {row["path"]: row["error"] for row in rows} == dict.fromkeys(map(str, paths))
    # With the fifth it is clear, and this one and the others do not count.
    assert sum(row["attempts"] - 1 for row in rows) == 4


def test_an_error_of_the_endpoint_ends_the_batch(cluster, tmp_path):
    paths = archive(tmp_path / "calls", 40)
    with LocalEndpoint() as endpoint:
        endpoint.accept(Credentials(access_key_id="AKIAOTHER", secret_access_key="other"))
        with pytest.raises(AuthenticationError) as caught:
            call(endpoint, paths, output=tmp_path / "out")
        assert caught.value.status == 403
        # Those under way, and not the forty.
        assert endpoint.stats.opens <= 8
    assert not (tmp_path / "out" / "_run.json").exists()


def test_a_service_that_refuses_everything_ends_the_batch(cluster, tmp_path):
    paths = archive(tmp_path / "calls", 40)
    settings = {"max_retries": 0}
    fault = Fault(Answer(503), times=None)
    with LocalEndpoint(faults=[fault]) as endpoint:
        with pytest.raises(ServiceUnavailableError) as caught:
            call(endpoint, paths, attempts=1, settings=settings)
        assert caught.value.__notes__ == ["the first 10 failed with errors of the service"]
        assert 10 <= endpoint.stats.opens < 40


def test_files_that_are_in_ray_go_in(cluster, tmp_path):
    paths = archive(tmp_path / "calls", 3)
    with LocalEndpoint() as endpoint:
        content = [{"path": f"x/{n}", "bytes": each.read_bytes()} for n, each in enumerate(paths)]
        told = rows_by_name(call(endpoint, ray.data.from_items(content), workers=1))
        assert {name: row["text"] for name, (row,) in told.items()} == {
            str(n): text(n) for n in range(3)
        }
        opens = endpoint.stats.opens
        with pytest.raises(ValueError, match="the same path"):
            call(endpoint, ray.data.from_items([*content, content[0]]))
        with pytest.raises(ValueError, match="needs a column 'path', and has file"):
            call(endpoint, ray.data.from_items([{"file": "a"}]))
        with pytest.raises(TypeError, match="has None, which is no path"):
            call(endpoint, ray.data.from_items([content[0], {"path": None, "bytes": b""}]))
        assert call(endpoint, ray.data.from_items([])).take_all() == []
        assert endpoint.stats.opens == opens


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_other_file_systems_and_forms(cluster, tmp_path):
    source = recording(tmp_path / "calls" / "a.wav", 0)
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, source.with_suffix(".flac")], check=True)
    subprocess.run(["gzip", "-k", source], check=True)
    with LocalEndpoint() as endpoint:
        there = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
        told = call(endpoint, "calls", output="out/deep", filesystem=there).take_all()
        assert {row["path"]: row["text"] for row in told} == dict.fromkeys(
            ("calls/a.wav", "calls/a.flac", "calls/a.wav.gz"), text(0)
        )
        assert (tmp_path / "out" / "deep" / "_batch.json").exists()


def test_nothing_goes_in_and_out(cluster, tmp_path):
    (tmp_path / "calls").mkdir()
    with LocalEndpoint() as endpoint:
        for output in (None, tmp_path / "out"):
            assert call(endpoint, tmp_path / "calls", output=output).take_all() == []
        assert endpoint.stats.opens == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"query": {"model": ["nova-3", "nova-2"]}}, ValueError, "takes one model"),
        ({"streams": 0}, ValueError, "streams=0"),
        ({"workers": (3, 2)}, ValueError, r"workers=\(3, 2\)"),
        ({"speed": 0}, ValueError, "speed=0"),
        ({"attempts": 0}, ValueError, "attempts=0"),
        ({"format": "csv"}, ValueError, "format='csv'"),
        ({"query": QUERY | {"encoding": "opus"}}, ValueError, "encoding=opus"),
        ({"output": "calls/out"}, ValueError, "must not be within"),
        ({"output": "calls/../calls"}, ValueError, "must not be within"),
        ({"recordings": "hdfs://a/b"}, ValueError, "give filesystem="),
        ({"recordings": "nowhere"}, FileNotFoundError, "nowhere does not exist"),
    ],
)
def test_what_is_wrong_is_said_at_once(tmp_path, monkeypatch, options, error, message):
    monkeypatch.chdir(tmp_path)
    recording(tmp_path / "calls" / "a.wav", 0)
    with LocalEndpoint() as endpoint, pytest.raises(error, match=message):
        call(endpoint, **{"recordings": "calls"} | options)


def test_a_config_that_cannot_be_sent_is_refused(tmp_path):
    recording(tmp_path / "calls" / "a.wav", 0)
    with LocalEndpoint() as endpoint, pytest.raises(TypeError, match="boto3_session cannot be"):
        transcribe(tmp_path / "calls", config=endpoint.config(), query=QUERY)


def test_a_worker_for_which_no_machine_has_room_is_told(cluster, caplog):
    batch._check_room(10_000)
    assert "num_cpus=10000, and no machine of Ray's has more than" in caplog.text
    caplog.clear()
    batch._check_room(1)
    assert caplog.text == ""
