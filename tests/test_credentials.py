"""Credentials through boto3's chain: where they come from, how often, and who waits for what."""

import asyncio
import contextlib
import datetime as dt
import json
import math
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.credentials import CredentialSource, Identity
from deepgram_sagemaker.errors import CredentialsTimeoutError, NoCredentialsError
from load import Stopwatch
from sessions import run_script

THREAD = "deepgram-sagemaker-credentials"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    """Nothing to find: no variables, no shared files, no metadata server."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def source(**fields):
    return CredentialSource(SageMakerConfig("ep", **fields))


def look_up(of=None, **kwargs):
    return asyncio.run((of or source()).identity(**kwargs))


def looking():
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


class Keys:
    """A foreign session and credentials in one: counts, waits, fails on request."""

    def __init__(self, *, gate=None, error=None):
        self.gate = gate
        self.error = error
        self.asked = 0
        self.threads = set()

    def get_credentials(self):
        return self

    def get_frozen_credentials(self):
        self.asked += 1
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return Frozen(f"key{self.asked}")


class Frozen:
    def __init__(self, access_key):
        self.access_key = access_key
        self.secret_key = "secret"
        self.token = None


# Where they come from.


def test_from_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    before = dict(os.environ)
    assert look_up() == Identity("key", "secret", "token")
    assert dict(os.environ) == before


def test_from_the_shared_file(tmp_path, monkeypatch):
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b\n"
        "[other]\naws_access_key_id = c\naws_secret_access_key = d\naws_session_token = e\n"
    )
    assert look_up() == Identity("a", "b", None)
    monkeypatch.setenv("AWS_PROFILE", "other")
    assert look_up() == Identity("c", "d", "e")


def test_from_a_process(tmp_path):
    script = tmp_path / "keys.py"
    script.write_text(
        "import json\n"
        "print(json.dumps({'Version': 1, 'AccessKeyId': 'a', 'SecretAccessKey': 'b',"
        " 'SessionToken': 'c', 'Expiration': '2999-01-01T00:00:00Z'}))\n"
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    assert look_up() == Identity("a", "b", "c")


@pytest.fixture
def metadata(monkeypatch):
    """A metadata server as EC2 instances (with a token first) and containers have.

    Yields its handler: `seen` are the requests for keys, `lifetime` is how long new ones last.
    """

    class Handler(BaseHTTPRequestHandler):
        seen: ClassVar[list[str]] = []
        lifetime = dt.timedelta(hours=6)

        def do_PUT(self):
            self.answer("token")

        def do_GET(self):
            if self.path.endswith("/security-credentials/"):
                self.answer("role")
                return
            type(self).seen.append(self.path)
            until = dt.datetime.now(dt.UTC) + self.lifetime
            self.answer(
                json.dumps(
                    {
                        "Code": "Success",
                        "AccessKeyId": f"key{len(self.seen)}",
                        "SecretAccessKey": "secret",
                        "Token": "token",
                        "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    }
                )
            )

        def answer(self, text):
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/"
        )
        yield Handler
        server.shutdown()
        thread.join()


def test_from_instance_metadata_once(metadata):
    credentials = source()
    first = look_up(credentials)
    assert first == Identity("key1", "secret", "token")
    assert look_up(credentials) == first
    assert len(metadata.seen) == 1


def as_in_a_container(monkeypatch):
    instance = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{instance}container")


def test_from_container_metadata(metadata, monkeypatch):
    as_in_a_container(monkeypatch)
    assert look_up() == Identity("key1", "secret", "token")
    assert metadata.seen == ["/container"]


def test_refreshed_before_they_expire(metadata, monkeypatch):
    as_in_a_container(monkeypatch)
    # Within botocore's last ten minutes, where a refresh is not optional.
    metadata.lifetime = dt.timedelta(minutes=5)
    credentials = source()
    first = look_up(credentials)
    metadata.lifetime = dt.timedelta(hours=6)
    second = look_up(credentials)
    assert second != first
    requests = len(metadata.seen)
    assert second.access_key_id == f"key{requests}"
    assert look_up(credentials) == second
    assert len(metadata.seen) == requests


def test_from_a_session_that_is_given(monkeypatch):
    import boto3

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
    session = boto3.Session(aws_access_key_id="given", aws_secret_access_key="secret")
    assert look_up(source(boto3_session=session)) == Identity("given", "secret", None)
    core = session._session
    assert look_up(source(boto3_session=core)) == Identity("given", "secret", None)


def test_no_region_is_needed(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert look_up().access_key_id == "key"


# When there are none.


def test_nothing_found_says_what_to_do():
    with pytest.raises(NoCredentialsError, match=r"aws sso login.*boto3_session") as caught:
        look_up()
    assert caught.value.retryable is False


def test_a_profile_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(NoCredentialsError, match=r"ProfileNotFound.*nobody") as caught:
        look_up()
    assert type(caught.value.__cause__).__name__ == "ProfileNotFound"
    assert caught.value.retryable is False
    assert "AWS_PROFILE has to name a profile that there is" in caught.value.message


def test_half_of_the_keys_is_none(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    with pytest.raises(NoCredentialsError, match="PartialCredentialsError") as caught:
        look_up()
    assert "give both, or neither" in caught.value.message


@pytest.mark.parametrize("name", ["config", "credentials"])
def test_a_file_that_cannot_be_parsed_is_to_be_mended(monkeypatch, tmp_path, name):
    (tmp_path / name).write_text("[default]\n[default]\n")
    # They are set, so advice to set them does not help.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    file = re.escape(str(tmp_path / name))
    with pytest.raises(NoCredentialsError, match=rf"ConfigParseError.*{file}") as caught:
        look_up()
    assert "mend that file" in caught.value.message
    assert "set AWS_PROFILE" not in caught.value.message


def test_what_a_process_prints_is_not_repeated(tmp_path):
    script = tmp_path / "keys.py"
    script.write_text("import sys\nsys.exit('the password is swordfish')\n")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    with pytest.raises(NoCredentialsError, match="CredentialRetrievalError") as caught:
        look_up()
    assert "swordfish" not in str(caught.value)
    assert "swordfish" not in "".join(traceback.format_exception(caught.value))


def test_a_network_that_is_down_may_come_back():
    from botocore.exceptions import EndpointConnectionError

    error = EndpointConnectionError(endpoint_url="https://sts.amazonaws.com")
    with pytest.raises(NoCredentialsError) as caught:
        look_up(source(boto3_session=Keys(error=error)))
    assert caught.value.retryable is True


def test_any_other_error_reaches_who_waits():
    with pytest.raises(NoCredentialsError, match="ZeroDivisionError") as caught:
        look_up(source(boto3_session=Keys(error=ZeroDivisionError())))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_empty_keys_are_none():
    class Empty(Keys):
        def get_frozen_credentials(self):
            return Frozen("")

    with pytest.raises(NoCredentialsError, match="incomplete"):
        look_up(source(boto3_session=Empty()))


def test_after_a_failure_the_next_one_looks_again(monkeypatch):
    credentials = source()
    with pytest.raises(NoCredentialsError):
        look_up(credentials)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert look_up(credentials).access_key_id == "key"


# How often, and by whom.


async def test_a_burst_is_one_look_up():
    keys = Keys(gate=threading.Event())
    credentials = source(boto3_session=keys)
    burst = [asyncio.ensure_future(credentials.identity()) for _ in range(500)]
    await asyncio.sleep(0)
    assert len(looking()) == 1
    keys.gate.set()
    identities = await asyncio.gather(*burst)
    assert keys.asked == 1
    assert {each.access_key_id for each in identities} == {"key1"}


async def test_a_failed_burst_is_one_look_up_and_an_error_each():
    keys = Keys(gate=threading.Event(), error=OSError("x"))
    credentials = source(boto3_session=keys)
    burst = [asyncio.ensure_future(credentials.identity()) for _ in range(50)]
    await asyncio.sleep(0)
    keys.gate.set()
    raised = await asyncio.gather(*burst, return_exceptions=True)
    assert keys.asked == 1
    assert {type(each) for each in raised} == {NoCredentialsError}
    assert len({id(each) for each in raised}) == 50


async def test_the_loop_goes_on_meanwhile():
    keys = Keys(gate=threading.Event())
    waiting = asyncio.ensure_future(source(boto3_session=keys).identity())
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert not waiting.done()
    keys.gate.set()
    await waiting
    assert keys.threads == {THREAD}


async def test_static_keys_take_no_thread_the_second_time(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    credentials = source()
    first = await credentials.identity()
    coroutine = credentials.identity()
    with pytest.raises(StopIteration) as returned:
        coroutine.send(None)
    assert returned.value.value == first


async def test_keys_of_an_unknown_kind_are_asked_for_each_time():
    keys = Keys()
    credentials = source(boto3_session=keys)
    assert [(await credentials.identity()).access_key_id for _ in range(3)] == [
        "key1",
        "key2",
        "key3",
    ]
    assert keys.threads == {THREAD}


# An expired token.


async def test_a_refused_token_makes_it_look_again(tmp_path):
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = old\naws_secret_access_key = s\n")
    credentials = source()
    assert (await credentials.identity()).access_key_id == "old"
    file.write_text("[default]\naws_access_key_id = new\naws_secret_access_key = s\n")
    assert (await credentials.identity()).access_key_id == "old"
    assert (await credentials.identity(refresh=True)).access_key_id == "new"
    assert (await credentials.identity()).access_key_id == "new"


async def test_refused_tokens_of_a_burst_are_one_look_up_and_later_ones_another(tmp_path):
    file = tmp_path / "credentials"

    def write(key):
        file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")

    now = 100.0
    credentials = CredentialSource(SageMakerConfig("ep"), clock=lambda: now)
    write("first")
    await credentials.identity()
    write("second")
    burst = await asyncio.gather(*(credentials.identity(refresh=True) for _ in range(100)))
    write("third")
    late = await credentials.identity(refresh=True)
    assert {each.access_key_id for each in [*burst, late]} == {"second"}
    now += 10.0
    assert (await credentials.identity(refresh=True)).access_key_id == "third"


async def test_a_forced_look_up_does_not_wait_for_one_under_way():
    class Session(Keys):
        def get_credentials(self):
            return Keys(gate=self.gate) if not self.asked_before() else Keys()

        def asked_before(self):
            self.asked += 1
            return self.asked > 1

    session = Session(gate=threading.Event())
    credentials = source(boto3_session=session)
    slow = asyncio.ensure_future(credentials.identity())
    await asyncio.sleep(0)
    assert (await credentials.identity(refresh=True)).access_key_id == "key1"
    assert not slow.done()
    session.gate.set()
    await slow


# Cancelling, loops, threads, forks.


async def test_cancelling_does_not_wait_for_the_look_up():
    keys = Keys(gate=threading.Event())
    credentials = source(boto3_session=keys)
    first, second = (asyncio.ensure_future(credentials.identity()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    watch = Stopwatch()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert watch.seconds < 1
    assert not second.done()
    keys.gate.set()
    # Callers that were not cancelled share the same look-up.
    assert (await second).access_key_id == "key1"
    assert keys.asked == 1


def test_a_loop_that_ends_first_is_not_waited_for_and_not_written_to():
    keys = Keys(gate=threading.Event())
    credentials = source(boto3_session=keys)

    async def give_up():
        async with asyncio.timeout(0.05):
            await credentials.identity()

    watch = Stopwatch()
    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert watch.seconds < 2
    (thread,) = looking()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keys.gate.set()
        thread.join(10)
    assert not thread.is_alive()


def test_several_loops_one_after_another_and_at_once():
    keys = Keys()
    credentials = source(boto3_session=keys)
    assert [look_up(credentials).access_key_id for _ in range(3)] == ["key1", "key2", "key3"]

    keys.gate = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(look_up, credentials) for _ in range(4)]
        while not looking():
            time.sleep(0.001)
        time.sleep(0.2)
        keys.gate.set()
        identities = {each.result(10) for each in waiting}
    assert {each.access_key_id for each in identities} == {"key4"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_looks_up_for_itself():
    keys = Keys(gate=threading.Event())
    credentials = source(boto3_session=keys)

    async def begin():
        waiting = asyncio.ensure_future(credentials.identity())
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(begin())
    # The fork happens with a look-up under way and its lock held: the worst moment.
    with credentials._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                keys.gate = None
                status = 0 if look_up(credentials).access_key_id == "key2" else 2
            finally:
                os._exit(status)
    deadline = time.monotonic() + 20
    ended, status = 0, -1
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        os.kill(child, 9)
        os.waitpid(child, 0)
    keys.gate.set()
    assert (ended, os.waitstatus_to_exitcode(status)) == (child, 0)


async def test_no_thread_is_left():
    await source(boto3_session=Keys()).identity()
    for thread in looking():
        thread.join(10)
    assert looking() == []


def test_making_a_source_does_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setitem(sys.modules, "botocore", None)
    before = looking()
    source()
    assert set(looking()) <= set(before)


async def test_a_thread_that_cannot_start_is_an_error(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    credentials = source(boto3_session=Keys())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(NoCredentialsError, match="RuntimeError"):
            await credentials.identity()
    assert (await credentials.identity()).access_key_id == "key1"


# Secrets.


def test_nothing_secret_is_shown():
    identity = Identity("AKIAEXAMPLE", "swordfish", "token")
    for shown in (repr(identity), str(identity), f"{identity}"):
        assert shown == "Identity(***)"
    with pytest.raises(AttributeError):
        identity.access_key_id = "other"


# A look-up that takes its time.


# Where there is no SIGKILL, the other signal ends a process as surely.
STOP = getattr(signal, "SIGKILL", signal.SIGTERM)


@pytest.fixture
def impatient(monkeypatch):
    """Not even the second that a look-up has in any case."""
    monkeypatch.setattr("deepgram_sagemaker.credentials._LEAST_PATIENCE", 0.0)


@pytest.fixture
def hanging_process(tmp_path):
    """A `credential_process` that sleeps; stopped with the test."""
    script = tmp_path / "keys.py"
    pids = tmp_path / "pids"
    script.write_text(
        f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(60)\n"
    )
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    yield pids
    for pid in pids.read_text().split() if pids.exists() else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), STOP)


def settles():
    """Work that a test left hanging has ended."""
    deadline = time.monotonic() + 10
    while looking() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert looking() == []


def test_a_process_that_hangs_is_an_error_in_time(impatient, hanging_process, caplog):
    credentials = source(connection_timeout=0.4)
    started = time.monotonic()
    with pytest.raises(
        CredentialsTimeoutError, match=r"longer than 0\.4 s \(connection_timeout"
    ) as caught:
        look_up(credentials)
    assert 0.4 <= time.monotonic() - started < 3
    assert isinstance(caught.value, NoCredentialsError)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.retryable is True
    # Logged once while it lasted, by the sessions' logger.
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.name == "deepgram_sagemaker.transport"
    assert "looking up AWS credentials" in record.getMessage()
    assert "connection_timeout" in record.getMessage()
    for _ in range(3):
        with pytest.raises(CredentialsTimeoutError):
            look_up(credentials)
    # Many attempts start one thread and one process.
    assert len(looking()) == 1
    (pid,) = hanging_process.read_text().split()
    os.kill(int(pid), STOP)
    settles()


def test_sts_that_never_answers_is_an_error_in_time(monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as sts:
        (tmp_path / "token").write_text("token")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{sts.getsockname()[1]}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        started = time.monotonic()
        with pytest.raises(CredentialsTimeoutError):
            look_up(source(connection_timeout=1.0))
        assert time.monotonic() - started < 5
        # It got that far.
        sts.settimeout(5)
        connection, _ = sts.accept()
        connection.close()
    settles()


async def test_whatever_hangs_is_one_thread_and_its_late_answer_is_used(impatient):
    keys = Keys(gate=threading.Event())
    credentials = source(boto3_session=keys, connection_timeout=0.1)
    for _ in range(3):
        raised = await asyncio.gather(
            *(credentials.identity() for _ in range(50)), return_exceptions=True
        )
        assert {type(each) for each in raised} == {CredentialsTimeoutError}
        assert len({id(each) for each in raised}) == 50
    assert len(looking()) == 1
    waiting = asyncio.create_task(credentials.identity())
    await asyncio.sleep(0)
    keys.gate.set()
    assert (await waiting).access_key_id == "key1"
    assert keys.asked == 1


async def test_refused_tokens_add_one_thread_at_most_to_one_that_hangs(impatient):
    keys = Keys(gate=threading.Event())
    credentials = source(boto3_session=keys, connection_timeout=0.05)
    for refresh in (False, True, True, False, True):
        with pytest.raises(CredentialsTimeoutError):
            await credentials.identity(refresh=refresh)
    assert len(looking()) == 2
    keys.gate.set()
    await asyncio.to_thread(settles)


async def test_a_refresh_whose_lock_another_thread_holds_is_an_error_in_time(impatient):
    """botocore refreshes under a lock, and the application may share the session."""
    import botocore.credentials

    begun = threading.Event()
    gate = threading.Event()

    def refresh():
        begun.set()
        assert gate.wait(10)
        until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=6)
        return {
            "access_key": "new",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": until.isoformat(),
        }

    shared = botocore.credentials.RefreshableCredentials(
        "old", "secret", "token", dt.datetime.now(dt.UTC), refresh, "test"
    )

    class Session:
        def get_credentials(self):
            return shared

    other = threading.Thread(target=shared.get_frozen_credentials)
    other.start()
    begun.wait(5)
    credentials = source(boto3_session=Session(), connection_timeout=0.2)
    began = time.monotonic()
    with pytest.raises(CredentialsTimeoutError):
        await credentials.identity()
    assert time.monotonic() - began < 2
    gate.set()
    assert (await credentials.identity()).access_key_id == "new"
    other.join()


async def test_a_full_executor_does_not_hold_it_up(monkeypatch):
    """The application's own jobs may fill the loop's executor for as long as they like."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    gate = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    job = loop.run_in_executor(None, gate.wait, 10)
    try:
        async with asyncio.timeout(5):
            assert (await source().identity()).access_key_id == "key"
    finally:
        gate.set()
        await job


async def test_an_endless_connection_timeout_waits_and_still_says_so(caplog, monkeypatch):
    from deepgram_sagemaker import errands

    monkeypatch.setattr(errands, "_SILENCE", 0.05)
    keys = Keys(gate=threading.Event())
    credentials = source(boto3_session=keys, connection_timeout=math.inf)
    waiting = [asyncio.create_task(credentials.identity()) for _ in range(20)]
    await asyncio.sleep(0.3)
    # Once for all who wait.
    assert len(caplog.records) == 1
    assert "without limit" in caplog.text
    keys.gate.set()
    assert {(await each).access_key_id for each in waiting} == {"key1"}


HANG = """
import asyncio, sys, time
from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.credentials import CredentialSource
from deepgram_sagemaker.errors import CredentialsTimeoutError

async def main():
    try:
        await CredentialSource(SageMakerConfig("ep", connection_timeout=0.2)).identity()
    except CredentialsTimeoutError:
        print(time.time())

asyncio.run(main())
"""


def test_a_process_may_exit_while_a_look_up_hangs(hanging_process):
    run = run_script(HANG)
    assert run.returncode == 0, run.stderr
    assert time.time() - float(run.stdout) < 3


async def test_a_short_connection_timeout_leaves_a_look_up_its_second():
    keys = Keys(gate=threading.Event())
    waiting = asyncio.create_task(source(boto3_session=keys, connection_timeout=0.001).identity())
    await asyncio.sleep(0.3)
    assert not waiting.done()
    keys.gate.set()
    assert (await waiting).access_key_id == "key1"
