"""The parts of batches, without Ray's processes: leases, places, and what errors mean."""

import errno
import json
import os
import queue
import subprocess
import sys
import time

import pytest
from deepgram_sagemaker import errors
from deepgram_sagemaker.conversations.reasons import ConversationError
from deepgram_sagemaker.conversations.recording import AudioError
from deepgram_sagemaker.ray import lease
from deepgram_sagemaker.ray.lease import OutputBusyError, RunLease
from deepgram_sagemaker.ray.permits import LEASE, Ledger
from deepgram_sagemaker.ray.places import Places, write_whole
from deepgram_sagemaker.ray.work import ends_the_batch, is_of_the_service, may_pass
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule


class Leases(RuleBasedStateMachine):
    """Workers that live, die and start again; what they use is never more than the limit."""

    LIMIT = 5
    WORKERS = st.sampled_from("abc")

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.ledger = Ledger(self.LIMIT, 0.0)
        self.lives = dict.fromkeys("abc", 0)
        # What each life uses until it ends, or until its lease has run out by its own clock.
        self.uses = {}
        self.renewed = {}

    def life(self, worker):
        return f"{worker}{self.lives[worker]}"

    @rule(worker=WORKERS)
    def renew(self, worker):
        life = self.life(worker)
        if not self.ledger.renew(worker, life, self.uses.get(life, 0), self.now):
            self.uses[life] = 0
        self.renewed[life] = self.now

    @rule(worker=WORKERS, wanted=st.integers(1, 7))
    def acquire(self, worker, wanted):
        life = self.life(worker)
        granted = self.ledger.grant(worker, life, wanted, self.now)
        assert granted <= wanted
        self.uses[life] = self.uses.get(life, 0) + granted

    @rule(worker=WORKERS)
    def release(self, worker):
        life = self.life(worker)
        if self.uses.get(life):
            self.uses[life] -= 1
            self.ledger.release(worker, life, 1)

    @rule(worker=WORKERS)
    def killed(self, worker):
        self.uses.pop(self.life(worker), None)
        self.lives[worker] += 1

    @rule(seconds=st.floats(0.1, LEASE))
    def time_passes(self, seconds):
        self.now += seconds
        for life, renewed in self.renewed.items():
            # A worker ends its sessions before the office gives their permits away.
            if self.now - renewed > LEASE - 1:
                self.uses[life] = 0
        self.ledger.expire(self.now)

    @rule()
    def office_restarts(self):
        self.ledger = Ledger(self.LIMIT, self.now + LEASE)

    @invariant()
    def limit_holds(self):
        assert sum(self.uses.values()) <= self.LIMIT


TestLeases = Leases.TestCase


def test_all_permits_are_used_and_come_back():
    ledger = Ledger(3, 0.0)
    assert ledger.grant("a", "1", 3, 0.0) == 0  # not known yet
    assert ledger.renew("a", "1", 0, 0.0)
    assert ledger.grant("a", "1", 2, 0.0) == 2
    ledger.renew("b", "1", 0, 1.0)
    assert ledger.grant("b", "1", 5, 1.0) == 1
    # The one that was killed is started again, by the same name.
    ledger.renew("a", "2", 0, 2.0)
    assert ledger.grant("b", "1", 5, 2.0) == 2
    # The other is not heard any more.
    ledger.renew("a", "2", 0, 3.0 + LEASE)
    ledger.expire(3.0 + LEASE)
    assert ledger.grant("a", "2", 5, 3.0 + LEASE) == 3
    assert not ledger.renew("b", "1", 3, 4.0 + LEASE)
    assert ledger.held == 3


def test_an_output_has_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "_RENEWAL", 0.3)
    lost = queue.SimpleQueue()
    place = Places().place(tmp_path / "_run.json")
    with RunLease(place, lost.put):
        with pytest.raises(OutputBusyError, match=f"process {os.getpid()} on "):
            RunLease(place, lost.put, patience=20).__enter__()
        # Nothing of the other one stays.
        assert json.loads((tmp_path / "_run.json").read_text())["pid"] == os.getpid()
        write_whole(place, b'{"run": "another"}')
        assert isinstance(lost.get(timeout=20), OutputBusyError)
    assert (tmp_path / "_run.json").exists()
    (tmp_path / "_run.json").unlink()
    with RunLease(place, lost.put):
        (tmp_path / "_run.json").unlink()
        assert "has gone during the run" in str(lost.get(timeout=20))


def test_a_run_that_has_ended_is_no_obstacle(tmp_path):
    script = (
        "import os, sys\n"
        "from deepgram_sagemaker.ray.lease import RunLease\n"
        "from deepgram_sagemaker.ray.places import Places\n"
        "RunLease(Places().place(sys.argv[1]), print).__enter__()\n"
        "os._exit(1)\n"
    )
    file = tmp_path / "_run.json"
    subprocess.run([sys.executable, "-c", script, str(file)], check=False, timeout=50)
    assert file.exists()
    began = time.monotonic()
    with RunLease(Places().place(file), print):
        assert time.monotonic() - began < 10
    assert not file.exists()
    # One of another machine may still be at work, and is watched.
    file.write_text('{"run": "other", "host": "elsewhere", "pid": 1, "began": "x"}')
    began = time.monotonic()
    with RunLease(Places().place(file), print, patience=1.0):
        assert time.monotonic() - began >= 1.0


def test_files_are_found_once_and_in_order(tmp_path):
    for name in ("b.wav", "a #%20=é.WAV", "deep/c.mp3", ".hidden/d.wav", "deep/.e.wav", "_f.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    places = Places()
    found = places.files([tmp_path, f"{tmp_path}/b.wav", tmp_path / "missing"], None)
    names = ["_f.wav", "a #%20=é.WAV", "b.wav", "deep/c.mp3", "missing"]
    assert found == [str(tmp_path / name) for name in names]
    assert places.files([f"{tmp_path}/"], [".wav"]) == found[:3]
    assert all(places.place(each).path == each for each in found)


def test_a_file_has_one_path_and_a_loop_of_links_an_end(tmp_path):
    calls = tmp_path / "calls"
    calls.mkdir()
    (calls / "a.wav").touch()
    (calls / "loop").symlink_to(calls)
    (calls / "again").symlink_to(calls)
    places = Places()
    one = str(calls / "a.wav")
    assert places.files([calls, f"{calls}/../calls/a.wav", f"file://{one}"], None) == [one]


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_name_that_is_no_text_is_named(tmp_path):
    (tmp_path / os.fsdecode(b"bad\xff.wav")).touch()
    with pytest.raises(ValueError, match=r"bad\\udcff\.wav': the name must be UTF-8"):
        Places().files([tmp_path], None)
    with pytest.raises(ValueError, match="must be UTF-8"):
        Places().place(b"bad\xff.wav")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    place = Places().place(tmp_path / "a")
    write_whole(place, b"one")
    write_whole(place, b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    with pytest.raises(TypeError):
        write_whole(place, "no bytes")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"two"


GAVE_UP = errors.RetriesExhaustedError("x", elapsed=1.0)


@pytest.mark.parametrize(
    ("error", "ends", "passes"),
    [
        (errors.EndpointNotFoundError("x"), True, True),
        (errors.AuthenticationError("x"), True, True),
        (errors.NoCredentialsError("x"), True, True),
        (errors.ValidationError("x"), True, True),
        (errors.TLSError("x"), True, True),
        (GAVE_UP, False, True),
        (errors.SessionLostError("x"), False, True),
        (errors.ModelError("x", retryable=False), False, True),
        (errors.ThrottledError("x"), False, True),
        (errors.ConnectError("x"), False, True),
        (ConversationError("x"), False, True),
        (TimeoutError("x"), False, True),
        (OSError("AWS Error SLOW_DOWN"), False, True),
        (FileNotFoundError("x"), False, False),
        (PermissionError("x"), False, False),
        (OSError(errno.ENAMETOOLONG, "x"), False, False),
        (OSError(errno.EIO, "x"), False, True),
        (AudioError("x"), False, False),
        (KeyError("x"), False, False),
    ],
)
def test_what_an_error_means(error, ends, passes):
    assert ends_the_batch(error) is ends
    if not ends:
        assert may_pass(error) is passes


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (errors.ConnectError("x"), True),
        (errors.ServiceUnavailableError("x"), True),
        (errors.ThrottledError("x"), True),
        (caused(errors.RetriesExhaustedError("x", elapsed=1.0), errors.ThrottledError("x")), True),
        (caused(errors.RetriesExhaustedError("x", elapsed=1.0), errors.ModelError("x")), False),
        (errors.RetriesExhaustedError("x", elapsed=1.0), False),
        (errors.StalledError("x"), False),
        (errors.StreamResetError("x"), False),
        (errors.AuthenticationError("x"), False),
        (ConversationError("x"), False),
        (ConnectionError("x"), False),
    ],
)
def test_which_failures_are_of_the_service(error, is_so):
    assert is_of_the_service(error) is is_so
