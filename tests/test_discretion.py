"""Keys, tokens and signatures appear in no traceback and in no log."""

import asyncio
import io
import json
import logging
import os
import re
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import botocore.credentials
import pytest
import rich.console
import rich.traceback
from deepgram_sagemaker import SageMakerConfig, SageMakerTransport
from deepgram_sagemaker.aws import operation
from deepgram_sagemaker.discretion import quiet_botocore, without_frames
from deepgram_sagemaker.errors import (
    AuthenticationError,
    ConnectError,
    EndpointNotFoundError,
    ModelError,
    NoCredentialsError,
    ProtocolError,
    RetriesExhaustedError,
    SageMakerError,
    ServiceUnavailableError,
    StreamResetError,
    SubscriptionTimeoutError,
    TLSError,
    ValidationError,
)
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.endpoint import Credentials
from deepgram_sagemaker.local.faults import (
    AfterMessages,
    Answer,
    InBandException,
    NeverAnswer,
    Reset,
)
from sessions import client_of, session

KEY_ID = "ASIASWORDFISHSWORDFI"
SECRET = "swordfish/Swordfish+swordfish/Swordfish1"
TOKEN = "IQoJb3JpZ2luX2VjTOKEN" * 20

IDENTITY = Credentials(access_key_id=KEY_ID, secret_access_key=SECRET, session_token=TOKEN)

SIGNATURE = re.compile(r"Signature=|\b[0-9a-f]{64}\b|AWS4-HMAC")


def betrayed(text):
    """Returns the secrets that a text contains."""
    found = [name for name, value in (("secret", SECRET), ("token", TOKEN[:40])) if value in text]
    return found + (["signature"] if SIGNATURE.search(text) else [])


def chain(error):
    """An error and all that led to it, contexts that are not printed as a rule included."""
    found, todo = [], [error]
    while todo:
        each = todo.pop()
        if each is not None and all(each is not known for known in found):
            found.append(each)
            todo += [each.__cause__, each.__context__]
    return found


def printed(error):
    """An error as printed by tools that print frames with their variables."""
    reports = [
        traceback.TracebackException.from_exception(each, capture_locals=True)
        for each in chain(error)
    ]
    return "".join(line for report in reports for line in report.format())


def richly_printed(error):
    """The same, by a tool that looks into what it prints."""
    console = rich.console.Console(width=10_000, file=io.StringIO(), force_terminal=False)
    for each in chain(error):
        shown = rich.traceback.Traceback.from_exception(
            type(each),
            each,
            each.__traceback__,
            show_locals=True,
            locals_max_string=None,
            locals_max_length=None,
        )
        console.print(shown)
    return console.file.getvalue()


async def failing(config):
    """Why a session fails; its own frames have nothing that is secret."""
    transport = SageMakerTransport(config, "v1/listen", "model=nova-3&encoding=linear16")
    try:
        await transport.send(b"\0" * 640)
        for _ in range(20):
            await transport.send(b"\0" * 640)
        while await transport.recv() is not None:
            pass
    except SageMakerError as error:
        return error
    finally:
        await transport.close()
    return None


def answered(status, error_type, message="as told"):
    return Fault(Answer(status, error_type, message), times=None)


OPENING = {
    "no access": ((answered(403, "AccessDeniedException"),), {}, AuthenticationError),
    "a token that ran out": ((answered(403, "ExpiredTokenException"),), {}, AuthenticationError),
    "a bad signature": (
        (
            answered(
                403,
                "SignatureDoesNotMatch",
                f"The canonical string should be x-amz-security-token:{TOKEN} {'a' * 64}",
            ),
        ),
        {},
        AuthenticationError,
    ),
    "a bad request": ((answered(400, "ValidationError"),), {}, ValidationError),
    "no such endpoint": ((), {"endpoint_name": "nowhere"}, EndpointNotFoundError),
    "no room": ((answered(503, "ServiceUnavailableError"),), {}, ServiceUnavailableError),
    "no container": ((answered(424, "ModelError"),), {}, ModelError),
    "nothing listens": ((), {"endpoint_uri": "https://127.0.0.1:1"}, ConnectError),
    "no such host": ((), {"endpoint_uri": "https://nowhere.invalid"}, ConnectError),
    "no answer": (
        (Fault(NeverAnswer(), times=None),),
        {"subscription_timeout": 0.2},
        SubscriptionTimeoutError,
    ),
    "no bundle": ((), {"ca_bundle": "/nowhere.pem"}, ValidationError),
    "a bundle of nothing": ((), {"ca_bundle": __file__}, TLSError),
    "a proxy that is not there": (
        (),
        {"proxy": f"http://user:{TOKEN[:40]}@127.0.0.1:1"},
        ConnectError,
    ),
    "a bundle of nothing, and a proxy": (
        (),
        {"ca_bundle": __file__, "proxy": f"http://user:{TOKEN[:40]}@127.0.0.1:1"},
        TLSError,
    ),
    "authorities of others": ((), {"ca_bundle": None}, TLSError),
    "a reset": ((Fault(Reset(), when=AfterMessages(1), times=None),), {}, StreamResetError),
    "keys that run out meanwhile": (
        (
            Fault(
                InBandException("ExpiredTokenException", "as told"),
                when=AfterMessages(1),
                times=None,
            ),
        ),
        {},
        SageMakerError,
    ),
}


@pytest.mark.parametrize("kind", OPENING)
async def test_no_failure_shows_a_key(kind):
    faults, settings, expected = OPENING[kind]
    async with LocalEndpoint(credentials=IDENTITY, faults=faults) as endpoint:
        config = endpoint.config(
            **{"max_retries": 1, "initial_backoff": 0.001, "close_timeout": 1} | settings
        )
        error = await failing(config)
    assert isinstance(error, expected | RetriesExhaustedError), repr(error)
    told = printed(error)
    # There are frames with variables: without them the test would show nothing.
    assert "_raise_error" in told
    assert betrayed(told) == []


async def test_rich_shows_no_key_of_an_opening_that_failed():
    faults = [answered(503, "ServiceUnavailableError")]
    async with LocalEndpoint(credentials=IDENTITY, faults=faults) as endpoint:
        error = await failing(endpoint.config(max_retries=1, initial_backoff=0.001))
    told = richly_printed(error)
    assert "identity = Identity(***)" in told
    assert betrayed(told) == []


async def test_an_sdk_that_fails_shows_no_key(monkeypatch):
    """A failure while the request is signed has frames that hold the key."""

    async def sign(self, *, request, identity, properties):
        secret_key = identity.secret_access_key
        raise ValueError(f"something is wrong with {len(secret_key)} characters")

    monkeypatch.setattr(type(operation.operation()._signer), "sign", sign)
    async with LocalEndpoint(credentials=IDENTITY) as endpoint:
        error = await failing(endpoint.config(max_retries=0))
    assert type(error) is ProtocolError
    assert "could not sign the request (ValueError)" in str(error)
    assert error.retryable is False
    assert betrayed(printed(error)) == []


async def test_what_the_signer_is_given_masks_itself(monkeypatch):
    given = []
    signer = operation.operation()._signer
    original = type(signer).sign

    async def sign(self, *, request, identity, properties):
        given.extend([identity, request, properties])
        return await original(self, request=request, identity=identity, properties=properties)

    monkeypatch.setattr(type(signer), "sign", sign)
    async with LocalEndpoint(credentials=IDENTITY) as endpoint:
        heard = await session(client_of(endpoint.config()), 3)
    assert heard.numbers == [0, 1, 2]
    identity = given[0]
    assert identity.secret_access_key == SECRET
    for shown in (repr(identity), str(identity), f"{identity}", repr(given)):
        assert betrayed(shown) == []


# Where keys come from.


class Provider:
    """A foreign `boto3_session`."""

    def __init__(self, keys):
        self.keys = keys

    def get_credentials(self):
        return self

    def get_frozen_credentials(self):
        keys = self.keys
        if isinstance(keys, Exception):
            held = (SECRET, TOKEN)
            raise keys from RuntimeError(len(held))
        return keys


def frozen(access_key=KEY_ID, secret_key=SECRET, token=TOKEN):
    return botocore.credentials.ReadOnlyCredentials(access_key, secret_key, token)


@pytest.mark.parametrize(
    "keys",
    [
        frozen(access_key=""),
        frozen(secret_key=SECRET + "\n"),
        frozen(token=TOKEN + "\r\n"),
        frozen(token=TOKEN.encode()),
        KeyError("as told"),
        botocore.exceptions.ClientError(
            {"Error": {"Code": "SignatureDoesNotMatch", "Message": f"token {TOKEN} {'a' * 64}"}},
            "AssumeRole",
        ),
    ],
    ids=["half", "a line break", "a line break in the token", "bytes", "an error", "an answer"],
)
async def test_keys_that_are_no_use_are_not_shown_either(keys):
    error = await failing(SageMakerConfig("ep", boto3_session=Provider(keys), max_retries=0))
    assert isinstance(error, AuthenticationError)
    assert betrayed(printed(error)) == []


KEYS = {"access key id": KEY_ID, "secret access key": SECRET, "session token": TOKEN}


@pytest.mark.parametrize(
    ("key", "flaw"),
    [
        ("{}\n", "a line break at its end"),
        ("{}\r\n", "a line break at its end"),
        ("\n{}", "a line break at its beginning"),
        ("{} ", "white space at its end"),
        ("\t{}", "white space at its beginning"),
        ("{}\N{NO-BREAK SPACE}", "white space at its end"),
        ("{}\n{}", "a line break in it"),
        ("{}\0", "a control character in it"),
        ("{} {}", "white space in it"),
        ("{}\N{LATIN SMALL LETTER E WITH ACUTE}", "characters in it that are not ASCII"),
        ("{}\N{ZERO WIDTH SPACE}", "characters in it that are not ASCII"),
    ],
)
@pytest.mark.parametrize("name", KEYS)
async def test_what_is_wrong_with_a_key_is_said(name, key, flaw):
    keys = KEYS | {name: key.replace("{}", KEYS[name])}
    provider = Provider(frozen(*keys.values()))
    error = await failing(SageMakerConfig("ep", boto3_session=provider))
    assert type(error) is AuthenticationError
    assert (error.retryable, error.attempts) == (False, 1)
    assert f"the AWS {name} found has {flaw}" in str(error)
    assert betrayed(printed(error)) == []


@pytest.mark.parametrize(
    "variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
async def test_a_variable_with_a_line_break_is_an_error_and_no_request(monkeypatch, variable):
    from_the_environment(monkeypatch, None, None)
    monkeypatch.setenv(variable, f"{os.environ[variable]}\n")
    async with LocalEndpoint(credentials=IDENTITY) as endpoint:
        error = await failing(endpoint.config(boto3_session=None))
        assert endpoint.stats.connections == 0
    assert type(error) is AuthenticationError
    assert "has a line break at its end" in str(error)


# Logs.


class Everything(logging.Handler):
    """All that is logged, with what it was made of."""

    def __init__(self):
        super().__init__(logging.NOTSET)
        self.lines = []

    def emit(self, record):
        parts = {name: repr(value) for name, value in vars(record).items()}
        self.lines.append(f"{record.getMessage()}\n{parts}")


@pytest.fixture
def everything():
    """The root logger at its most talkative, and every other one with it."""
    root = logging.getLogger()
    handler = Everything()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


@pytest.fixture
def provider():
    """A container's metadata server and STS in one; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(
                json.dumps(
                    {
                        "AccessKeyId": KEY_ID,
                        "SecretAccessKey": SECRET,
                        "Token": TOKEN,
                        "Expiration": "2999-01-01T00:00:00Z",
                    }
                )
            )

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(
                "<AssumeRoleResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
                f"<AssumeRoleResult><Credentials><AccessKeyId>{KEY_ID}</AccessKeyId>"
                f"<SecretAccessKey>{SECRET}</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>"
                "<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>"
                "</AssumeRoleResponse>"
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
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def from_the_environment(monkeypatch, _tmp_path, _provider):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)


def from_files(_monkeypatch, tmp_path, _provider):
    Path(tmp_path / "aws-credentials").write_text(
        f"[default]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n"
        f"aws_session_token = {TOKEN}\n"
    )


def from_a_container(monkeypatch, _tmp_path, provider):
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{provider}/keys")


def from_a_role(monkeypatch, tmp_path, provider):
    """The answer of STS has the keys, and its request, which is signed, the first ones' token."""
    Path(tmp_path / "aws-config").write_text(
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = first\n"
        f"region = us-east-1\n[profile first]\naws_access_key_id = {KEY_ID}\n"
        f"aws_secret_access_key = {SECRET}\naws_session_token = {TOKEN}\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", provider)


def from_a_process(_monkeypatch, tmp_path, _provider):
    output = json.dumps(
        {"Version": 1, "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "SessionToken": TOKEN}
    )
    script = tmp_path / "keys.py"
    script.write_text(f"print({output!r})\n")
    (tmp_path / "aws-config").write_text(
        f"[default]\ncredential_process = {sys.executable} {script}\n"
    )


@pytest.mark.parametrize(
    "source", [from_the_environment, from_files, from_a_container, from_a_role, from_a_process]
)
async def test_no_line_of_a_whole_session_has_a_secret(
    everything, monkeypatch, tmp_path, provider, source
):
    source(monkeypatch, tmp_path, provider)
    faults = [Fault(Reset(), when=AfterMessages(10))]
    async with LocalEndpoint(credentials=IDENTITY, faults=faults) as endpoint:
        config = endpoint.config(boto3_session=None, initial_backoff=0.001)
        heard = await session(client_of(config), 30)
    assert heard.numbers == list(range(30))
    assert heard.errors == []
    # Something was logged at that level, so other lines would be as well.
    assert any("botocore.credentials" in line for line in everything.lines)
    assert [line for line in everything.lines if betrayed(line)] == []


def test_what_the_application_asks_of_botocore_is_its_own_affair(everything):
    logger = logging.getLogger("botocore.parsers")
    with quiet_botocore():
        logger.debug("ours")
        logger.warning("ours, and worth it")
        logging.getLogger("botocore.credentials").debug("where they were found")
        thread = threading.Thread(target=logger.debug, args=("another thread's",))
        thread.start()
        thread.join()
    logger.debug("later")
    said = [line.partition("\n")[0] for line in everything.lines]
    assert said == ["ours, and worth it", "where they were found", "another thread's", "later"]


def test_frames_are_taken_off_all_that_led_to_it():
    def first():
        secret = SECRET
        raise KeyError(len(secret))

    def second():
        token = TOKEN
        try:
            first()
        except KeyError as error:
            raise ValueError(len(token)) from error

    def wrong():
        try:
            second()
        except ValueError:
            raise TypeError  # noqa: B904 - with a context, and without a cause

    with pytest.raises(TypeError) as caught:
        wrong()
    error = caught.value
    assert betrayed(printed(error)) == ["secret", "token"]
    group = ExceptionGroup("several", [error])
    assert without_frames(group) is group
    assert isinstance(error.__context__.__cause__, KeyError)
    assert betrayed(printed(group)) == []


# Objects given as a session.


async def given(session_given, **settings):
    return await failing(
        SageMakerConfig("ep", boto3_session=session_given, max_retries=0, **settings)
    )


async def test_a_session_without_keys_is_named_as_such():
    error = await given(boto3.Session())
    assert type(error) is NoCredentialsError
    assert "boto3_session" in str(error)
    assert "no credentials" in str(error)
    assert error.retryable is False


async def test_answers_that_are_no_credentials_are_refused_with_their_kind():
    class Later:
        def get_credentials(self):
            async def credentials():
                """Never awaited."""

            return credentials()

    class Nonsense:
        def get_credentials(self):
            return {"access_key": KEY_ID}

    class Asynchronous:
        def get_credentials(self):
            return self

        async def get_frozen_credentials(self):
            """Never awaited either."""

    for session_given, kind in (
        (Later(), "coroutine"),
        (Nonsense(), "dict"),
        (Asynchronous(), "Asynchronous"),
    ):
        error = await asyncio.wait_for(given(session_given), 5)
        assert type(error) is NoCredentialsError
        assert f"gave a {kind}" in str(error)
