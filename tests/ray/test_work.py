"""A worker, with the office of this process in place of the actor, and tasks that need no service.

`Handle` calls the office as Ray does: at once, and the answer is a future of a thread's.
"""

import asyncio
import copy
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deepgram_sagemaker import SageMakerConfig, errors
from deepgram_sagemaker.ray import breaker, permits, work
from deepgram_sagemaker.ray.output import Output
from deepgram_sagemaker.ray.permits import Office, OfficeLostError
from deepgram_sagemaker.ray.places import Places
from deepgram_sagemaker.ray.rows import TRANSCRIPTS
from deepgram_sagemaker.ray.work import AudioLostError, Job, Worker
from ray.exceptions import ActorDiedError, ActorUnavailableError


class Handle:
    """An office that may be away, or started again."""

    def __init__(self, make):
        self._make = make
        self.office = make()
        self.error = None
        self.told = []

    def restart(self):
        self.office = self._make()

    def __getattr__(self, method):
        async def call(*arguments):
            if self.error is not None:
                raise self.error
            self.told.append(method)
            return await getattr(self.office, method)(*arguments)

        def remote(*arguments):
            future = asyncio.run_coroutine_threadsafe(call(*arguments), asyncio.get_running_loop())
            return SimpleNamespace(future=lambda: future)

        return SimpleNamespace(remote=remote)


class Act:
    """A task that does what a test says."""

    schema = TRANSCRIPTS

    def __init__(self, act):
        self._act = act

    async def do(self, caller, storage, item, attempt):
        self._act(item["path"])
        return [{"path": item["path"], "channel": 0, "text": "said", "attempts": attempt}]


@pytest.fixture
def handle(monkeypatch):
    context = SimpleNamespace(was_current_actor_reconstructed=False, get_actor_id=lambda: "a")
    monkeypatch.setattr(permits.ray, "get_runtime_context", lambda: context)
    # The SDK has one factory of transports per process, and here are several workers.
    monkeypatch.setattr(work, "Caller", lambda config: None)
    return Handle(lambda: Office(4, is_proven=True))


@pytest.fixture
def worker(handle, tmp_path):
    made = []

    def make(act, attempts=1):
        (tmp_path / "_progress").mkdir(exist_ok=True)
        output = Output(Places().place(tmp_path), TRANSCRIPTS, "parquet")
        config = SageMakerConfig("local", "us-east-1")
        made.append(Worker(Job(config, Act(act), output, "run", handle, attempts)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def rows(worker, *names):
    (table,) = worker(pa.table({"path": list(names)}))
    return {row["path"]: row for row in table.to_pylist()}


def kept(tmp_path):
    return len(list((tmp_path / "_progress").glob("*.json")))


def test_a_result_is_kept_and_told_while_the_office_is_started_again(handle, worker, tmp_path):
    def act(name):
        # From here the office is away for two answers.
        handle.error = ActorUnavailableError("restarting", None)
        asyncio.get_running_loop().call_later(1.5, setattr, handle, "error", None)
        if name == "bad":
            raise errors.ModelError("no", retryable=False)

    done = rows(worker(act), "good")
    assert done["good"]["text"] == "said"
    assert "succeeded" in handle.told
    done = rows(worker(act), "bad")
    assert done["bad"]["error"]["type"] == "ModelError"
    assert "failed" in handle.told
    assert kept(tmp_path) == 2


def test_an_office_that_is_gone_is_one_error_and_costs_no_result(handle, worker, tmp_path):
    begun = []

    def act(name):
        begun.append(name)
        handle.error = ActorDiedError()

    with pytest.raises(OfficeLostError, match="lost the actor that leases permits") as caught:
        rows(worker(act), *"abcdef")
    assert "\n" not in str(caught.value)
    assert 1 <= kept(tmp_path) == len(begun) <= 4


def test_an_office_that_stays_away_is_given_up(handle, worker, monkeypatch):
    monkeypatch.setattr(permits, "_GIVES_UP", 1.0)

    def act(name):
        handle.error = ActorUnavailableError("restarting", None)

    with pytest.raises(OfficeLostError, match="ActorUnavailableError"):
        rows(worker(act), "a")


def test_a_new_office_learns_why_the_batch_ends(handle, worker):
    def act(name):
        raise errors.AuthenticationError("these keys")

    mine, other = worker(act), worker(act)
    assert rows(mine, "a") == {}
    # Another worker has the reason from the office, and says it as well.
    assert rows(other, "b") == {}
    for each in (mine, other):
        handle.restart()
        assert rows(each, "c") == {}
        assert isinstance(asyncio.run(handle.office.stopped()), errors.AuthenticationError)


def test_an_output_that_cannot_be_written_ends_the_batch(handle, worker, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "_WRITES", 1)

    def act(name):
        (tmp_path / "_progress").rmdir()
        (tmp_path / "_progress").touch()

    assert rows(worker(act), "a") == {}
    assert isinstance(asyncio.run(handle.office.stopped()), OSError)


AWAY = errors.RetriesExhaustedError("gave up", elapsed=1.0)
AWAY.__cause__ = errors.ConnectError("nothing listens")


def short_pauses(monkeypatch):
    monkeypatch.setattr(breaker, "_SHORTEST", 0.05)
    monkeypatch.setattr(breaker, "_LONGEST", 0.1)


def test_a_service_that_is_away_for_a_while_costs_no_attempts(handle, worker, monkeypatch):
    short_pauses(monkeypatch)
    sessions = []

    def act(name):
        sessions.append(name)
        if 10 < len(sessions) <= 22:
            error = copy.copy(AWAY)
            error.__cause__ = AWAY.__cause__
            raise error

    mine = worker(act, attempts=5)
    names = [f"{n}" for n in range(30)]
    done = rows(mine, *names[:10])
    done |= rows(mine, *names[10:])
    assert [done[name]["error"] for name in names] == [None] * 30
    # The first failures count, until they are many.
    assert sum(row["attempts"] - 1 for row in done.values()) == breaker.THRESHOLD - 1
    assert len(sessions) == 42


def test_a_service_that_stays_away_ends_the_batch(handle, worker, monkeypatch):
    short_pauses(monkeypatch)
    handle.office = Office(4, is_proven=True, away=0.5)
    sessions = []

    def act(name):
        sessions.append(name)
        raise errors.ConnectError("nothing listens")

    done = rows(worker(act), *(f"{n}" for n in range(60)))
    reason = asyncio.run(handle.office.stopped())
    assert isinstance(reason, errors.ConnectError)
    (note,) = reason.__notes__
    assert note.startswith("nothing has succeeded for more than 0.5 s")
    # Only what failed before it was clear that the service is away.
    assert len(done) == breaker.THRESHOLD - 1
    assert len(sessions) < 60


def test_failures_of_recordings_hold_nothing_back(handle, worker):
    def act(name):
        raise errors.ModelError("no", retryable=False)

    done = rows(worker(act), *(f"{n}" for n in range(20)))
    assert [row["error"]["type"] for row in done.values()] == ["ModelError"] * 20


def test_a_service_that_was_never_there_is_not_waited_for(handle, worker):
    handle.office = Office(4, is_proven=False)

    def act(name):
        raise errors.ConnectError("nothing listens")

    done = rows(worker(act), *(f"{n}" for n in range(40)))
    assert permits.HOPELESS <= len(done) < 40
    (note,) = asyncio.run(handle.office.stopped()).__notes__
    assert note.startswith("the first 10 failed")


def test_audio_that_is_lost_twice_in_the_same_way_is_not_streamed_again(
    handle, worker, monkeypatch
):
    monkeypatch.setattr(work, "_LONGEST_WAIT", 0.1)
    seconds = iter([1, 1, 1, 2, 3, 4])

    def act(name):
        raise AudioLostError(f"{next(seconds)} s lost")

    mine = worker(act, attempts=3)
    assert rows(mine, "same")["same"]["attempts"] == 2
    assert rows(mine, "other")["other"]["attempts"] == 3
