"""The tree: one base, the builtins it borrows from, and that errors survive pickling."""

import pickle

import pytest
from deepgram_sagemaker import errors
from deepgram_sagemaker.errors import SageMakerError

CLASSES = [getattr(errors, name) for name in errors.__all__]
REQUIRED = {errors.RetriesExhaustedError: {"elapsed": 31.5}}


def make(cls, **facts):
    return cls("what happened", **{**REQUIRED.get(cls, {}), **facts})


def test_all_of_the_tree_is_exported():
    def below(cls):
        return {cls}.union(*(below(each) for each in cls.__subclasses__()))

    public = {each.__name__ for each in below(SageMakerError) if not each.__name__.startswith("_")}
    assert public == set(errors.__all__)
    assert errors.__all__ == sorted(errors.__all__)


def test_the_docstring_draws_every_class():
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}
    assert set(errors.__all__) <= drawn


@pytest.mark.parametrize("cls", CLASSES)
def test_facts(cls):
    error = make(cls, status=503, code="Code", request_id="rid", attempts=3, retry_limit=2)
    assert (error.status, error.code, error.request_id) == (503, "Code", "rid")
    assert (error.attempts, error.retry_limit) == (3, 2)
    assert str(error) == "what happened (HTTP 503, Code, request id rid, 3 attempts)"
    assert error.message == "what happened"


@pytest.mark.parametrize("cls", CLASSES)
def test_nothing_known_is_nothing_said(cls):
    error = make(cls)
    assert str(error) == "what happened"
    assert (error.status, error.code, error.request_id) == (None, None, None)
    assert error.attempts == 1
    assert error.retryable is cls.default_retryable


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_everything(cls, protocol):
    error = make(cls, status=400, code="C", attempts=2, retryable=True)
    error.add_note("a note")
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is cls
    assert copy.__dict__ == error.__dict__
    assert copy.args == error.args
    assert str(copy) == str(error)


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ValidationError", ValueError),
        ("ConnectTimeoutError", TimeoutError),
        ("AcquireTimeoutError", TimeoutError),
        ("SubscriptionTimeoutError", TimeoutError),
        ("StalledError", TimeoutError),
        ("ConnectError", ConnectionError),
        ("ConnectionLostError", ConnectionError),
        ("StreamResetError", ConnectionResetError),
    ],
)
def test_builtins_catch_their_kind(name, builtin):
    with pytest.raises(builtin):
        raise make(getattr(errors, name))


@pytest.mark.parametrize(
    ("name", "retryable"),
    [
        ("AuthenticationError", False),
        ("NoCredentialsError", False),
        ("ValidationError", False),
        ("EndpointNotFoundError", False),
        ("SessionLostError", False),
        ("RetriesExhaustedError", False),
        ("SessionClosedError", False),
        ("ThrottledError", True),
        ("ServiceUnavailableError", True),
        ("ModelError", True),
        ("ConnectError", True),
        ("ConnectTimeoutError", True),
        ("AcquireTimeoutError", True),
        ("SubscriptionTimeoutError", True),
        ("StreamResetError", True),
        ("ConnectionLostError", True),
    ],
)
def test_terminal_and_transient(name, retryable):
    assert make(getattr(errors, name)).retryable is retryable
    assert make(getattr(errors, name), retryable=not retryable).retryable is not retryable


def test_what_each_adds():
    assert errors.ValidationError("m", parameter="keyterm").parameter == "keyterm"
    assert errors.AuthenticationError("m", expired=True).expired is True
    model = errors.ModelError("m", model_status=400, model_code="X", model_message="no")
    assert (model.model_status, model.model_code, model.model_message) == (400, "X", "no")
    assert errors.StreamResetError("m", h2_code=8).h2_code == 8
    assert errors.SessionLostError("m", seconds_unacknowledged=1.5).seconds_unacknowledged == 1.5
    exhausted = errors.RetriesExhaustedError("m", elapsed=30.1, seconds_unacknowledged=2.0)
    assert (exhausted.elapsed, exhausted.seconds_unacknowledged) == (30.1, 2.0)


def test_credentials_missing_is_a_failed_authentication():
    assert issubclass(errors.NoCredentialsError, errors.AuthenticationError)
