"""Every field of the settings: what it takes, and what the error says when it does not."""

import copy
import dataclasses
import inspect
import math
import pathlib
import pickle
import re
import types
from decimal import Decimal
from fractions import Fraction
from unittest.mock import MagicMock

import pytest
from botocore.credentials import Credentials
from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.errors import SageMakerError, ValidationError


class Session:
    def get_credentials(self):
        return None


class AsynchronousSession:
    """As aiobotocore's."""

    async def get_credentials(self):
        """It is not awaited."""


SECONDS = (
    "connection_timeout",
    "connection_acquire_timeout",
    "subscription_timeout",
    "initial_backoff",
    "max_backoff",
    "retry_budget",
    "close_timeout",
)
OPTIONAL = ("max_leg_age", "stall_timeout", "replay_speed", "keepalive_interval")
ENDLESS = (
    "connection_timeout",
    "connection_acquire_timeout",
    "subscription_timeout",
    "max_backoff",
    "retry_budget",
)
COUNTS = (
    "max_concurrency",
    "max_retries",
    "max_replay_buffer_bytes",
    "max_streams_per_connection",
)
NAMES = ("endpoint_name", "target_variant")


def by_type(value):
    """A test's name for a value that has thousands of digits."""
    return f"{type(value).__name__} {str(value)[:9] if not isinstance(value, int) else ''}"


def make(**fields):
    return SageMakerConfig(**{"endpoint_name": "ep", **fields})


def test_positional_order_is_that_of_earlier_releases():
    config = SageMakerConfig(
        "ep", "eu-west-1", "audio/wav", "text/plain", 1, 2, 3, 4, 5, 0.6, 7, 8, 9, 10
    )
    assert dataclasses.astuple(config)[:14] == (
        "ep", "eu-west-1", "audio/wav", "text/plain", 1, 2, 3, 4, 5, 0.6, 7, 8, 9, 10,
    )  # fmt: skip


def test_what_is_new_is_keyword_only():
    kinds = [each.kind for each in inspect.signature(SageMakerConfig).parameters.values()]
    assert kinds == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 14 + [
        inspect.Parameter.KEYWORD_ONLY
    ] * (len(kinds) - 14)


def test_defaults():
    config = SageMakerConfig("ep")
    assert config.region == "us-west-2"
    assert config.connection_timeout == 30.0
    assert config.connection_acquire_timeout == 60.0
    assert config.subscription_timeout == 60.0
    assert config.max_concurrency == 500
    assert config.max_retries == 5
    assert (config.initial_backoff, config.max_backoff, config.backoff_multiplier) == (0.1, 5, 2)
    assert config.retry_budget == 30.0
    assert config.max_replay_buffer_bytes == 8 * 1024 * 1024
    assert config.max_streams_per_connection == 1
    assert (config.max_leg_age, config.stall_timeout, config.replay_speed) == (1500, 30, 4)
    assert config.keepalive_interval is None


def test_every_field_is_documented():
    documented = re.findall(r"^        (\w+): ", SageMakerConfig.__doc__, flags=re.MULTILINE)
    fields = [each.name for each in dataclasses.fields(SageMakerConfig)]
    assert sorted(documented) == sorted(fields)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().region = "us-east-1"


def test_whole_seconds_become_floats():
    config = make(connection_timeout=3, stall_timeout=4)
    assert isinstance(config.connection_timeout, float)
    assert isinstance(config.stall_timeout, float)


# Fractions and Decimals too large for a float, and values larger than any clock.
TOO_MUCH = (10**400, 1e300, 1e10, Decimal("1e400"), Fraction(10**400))
NO_NUMBERS = (math.nan, -math.inf, True, "1", b"1", 1j, Decimal("NaN"), Decimal("sNaN"), "9" * 400)


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("value", [0, -1, None, *TOO_MUCH, *NO_NUMBERS], ids=by_type)
def test_seconds_are_positive_numbers_within_bounds(name, value):
    with pytest.raises(ValidationError) as caught:
        make(**{name: value})
    assert caught.value.parameter == name
    assert str(caught.value).startswith(f"{name}={value!r}: {name} must be a number of seconds")


@pytest.mark.parametrize("name", ENDLESS)
def test_some_times_may_be_endless(name):
    for value in (math.inf, Decimal("inf")):
        assert getattr(make(**{name: value}), name) == math.inf
    assert make(backoff_multiplier=math.inf).backoff_multiplier == math.inf
    for other in set(SECONDS) - set(ENDLESS):
        with pytest.raises(ValidationError, match=f"^{other}=inf"):
            make(**{other: math.inf})


@pytest.mark.parametrize("name", OPTIONAL)
def test_optional_numbers(name):
    assert getattr(make(**{name: None}), name) is None
    for value in (0, -1, math.nan, math.inf, False, "4", 1e300, 10**400):
        with pytest.raises(ValidationError, match=f"^{name}=.*: {name} must be .*, or None$"):
            make(**{name: value})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    "value",
    [-1, 1.5, None, math.inf, Decimal("1.5"), 2**63, 2**64, 10**5000, *TOO_MUCH, *NO_NUMBERS],
    ids=by_type,
)
def test_counts_are_whole_numbers_within_bounds(name, value):
    if isinstance(value, float) and value == 1e10 and name == "max_replay_buffer_bytes":
        pytest.skip("ten gigabytes are allowed")
    with pytest.raises(
        ValidationError, match=f"^{name}=.*: {name} must be a whole number"
    ) as found:
        make(**{name: value})
    assert found.value.parameter == name
    assert len(str(found.value)) < 700


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [3, 3.0, Decimal(3), Decimal("3.00"), Fraction(6, 2)])
def test_a_count_may_be_a_whole_number_of_any_type(name, value):
    count = getattr(make(**{name: value}), name)
    assert (count, type(count)) == (3, int)


def test_numbers_of_numpy_are_numbers():
    numpy = pytest.importorskip("numpy")
    config = make(max_retries=numpy.int64(7), retry_budget=numpy.float32(1.5))
    assert (config.max_retries, type(config.max_retries)) == (7, int)
    assert (config.retry_budget, type(config.retry_budget)) == (1.5, float)
    with pytest.raises(ValidationError, match="max_retries must be a whole number"):
        make(max_retries=numpy.bool_(True))


def test_what_is_greatest_is_what_the_native_side_takes():
    """Each bound as it is: nothing of it overflows where it is used."""
    from deepgram_sagemaker._native import Session, Waker
    from deepgram_sagemaker.aws.client import _made_ready

    greatest = dict.fromkeys(COUNTS, 2**31 - 1) | dict.fromkeys(SECONDS, 1e9)
    greatest |= {"max_replay_buffer_bytes": 2**40, "stall_timeout": 1e9, "replay_speed": 1e6}
    greatest |= {"backoff_multiplier": 1e6, "max_leg_age": 1800, "keepalive_interval": 9.99}
    for config in (make(**greatest), make(**dict.fromkeys(ENDLESS, math.inf))):
        _made_ready(config)
        session = Session("v1/listen", "", config, seed=0, waker=Waker(), token=1)
        session.step()
        for _ in range(3):
            session.open_failed("connect")
            session.step()


def test_zero_is_a_count_where_it_means_something():
    config = make(max_retries=0, max_replay_buffer_bytes=0)
    assert (config.max_retries, config.max_replay_buffer_bytes) == (0, 0)
    for name in ("max_concurrency", "max_streams_per_connection"):
        with pytest.raises(ValidationError, match="at least 1"):
            make(**{name: 0})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["a", "A-1", "a--b", "x" * 63])
def test_names_that_the_service_takes(name, value):
    assert getattr(make(**{name: value}), name) == value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value", ["", " ", "-a", "a-", "a_b", "a/b", "ä", "x" * 64, 1, b"ep", "a\n"]
)
def test_names_that_the_service_refuses(name, value):
    with pytest.raises(ValidationError, match=f"^{name}=.*: {name} must be 1 to 63 letters"):
        make(**{name: value})


def test_an_endpoint_is_needed():
    with pytest.raises(ValidationError, match="endpoint_name=None"):
        make(endpoint_name=None)


def test_an_arn_is_told_from_a_name():
    with pytest.raises(ValidationError, match="this is an ARN"):
        make(endpoint_name="arn:aws:sagemaker:us-west-2:1:endpoint/ep")


@pytest.mark.parametrize(
    "region",
    ["us-west-2", "ap-southeast-4", "cn-north-1", "us-gov-east-1", "us-isob-east-1",
     "eusc-de-east-1", "mx-central-1"],
)  # fmt: skip
def test_regions(region):
    assert make(region=region).region == region


@pytest.mark.parametrize(
    "region", ["", "us-west", "US-WEST-2", "us-west-2a", "us_west_2", "us-west-2.evil.com", None, 2]
)
def test_bad_regions(region):
    with pytest.raises(ValidationError, match=r"^region=.*must be an AWS region"):
        make(region=region)


def test_backoff_bounds_are_in_order():
    assert make(initial_backoff=5, max_backoff=5).initial_backoff == 5
    with pytest.raises(ValidationError, match=r"initial_backoff=6.0.*max_backoff \(5.0\)"):
        make(initial_backoff=6)
    with pytest.raises(ValidationError, match=r"backoff_multiplier=0.5.*at least 1"):
        make(backoff_multiplier=0.5)


def test_limits_of_the_service():
    assert make(max_leg_age=1800).max_leg_age == 1800
    with pytest.raises(ValidationError, match="at most 1800"):
        make(max_leg_age=1801)
    with pytest.raises(ValidationError, match="below 10"):
        make(keepalive_interval=10)


@pytest.mark.parametrize("name", ["content_type", "accept_type"])
@pytest.mark.parametrize("value", ["", "json", "a/b\r\nx: y", None, 1])
def test_media_types(name, value):
    with pytest.raises(ValidationError, match="must be a media type"):
        make(**{name: value})


@pytest.mark.parametrize(
    "uri",
    ["https://host", "https://host:8443", "https://127.0.0.1:1", "https://[::1]:8443",
     "https://vpce-1.runtime.sagemaker.us-west-2.vpce.amazonaws.com", "https://host/prefix"],
)  # fmt: skip
def test_endpoint_uris(uri):
    assert make(endpoint_uri=uri).endpoint_uri == uri


@pytest.mark.parametrize(
    "uri",
    ["", "host", "host:8443", "ftp://host", "https://", "https://ho st", "https://host:0",
     "https://host:70000", "https://host:x", "https://host?x=1", "https://host#x", "https://[::1",
     "https://-host", "https://user:secret@host", "https://ho\tst", "https://hôst", 1, b"https://h"],
)  # fmt: skip
def test_bad_endpoint_uris(uri):
    with pytest.raises(ValidationError, match=r"^endpoint_uri=.*must be https://host") as caught:
        make(endpoint_uri=uri)
    assert "secret" not in str(caught.value)


def test_plain_http_is_refused_with_the_reason():
    with pytest.raises(ValidationError, match="TLS only"):
        make(endpoint_uri="http://localhost:8443")


@pytest.mark.parametrize("name", ["use_fips_endpoint", "use_dualstack_endpoint"])
def test_flags(name):
    for value in (True, False, None):
        assert getattr(make(**{name: value}), name) is value
    for value in (1, "true"):
        with pytest.raises(ValidationError, match="must be True, False or None"):
            make(**{name: value})
    with pytest.raises(ValidationError, match=f"^{name}=True.*endpoint_uri"):
        make(**{name: True, "endpoint_uri": "https://host"})
    make(**{name: False, "endpoint_uri": "https://host"})


def test_ca_bundle_takes_any_path():
    assert make(ca_bundle="a.pem").ca_bundle == "a.pem"
    assert make(ca_bundle=pathlib.Path("a.pem")).ca_bundle == "a.pem"
    for value in ("", b"a.pem", 1, "a\0b"):
        with pytest.raises(ValidationError, match="must be the path of a PEM file"):
            make(ca_bundle=value)


@pytest.mark.parametrize(
    "proxy", ["", "http://proxy", "http://proxy:3128/", "https://u:p@proxy:1", "http://[::1]:3128"]
)
def test_proxies(proxy):
    assert make(proxy=proxy).proxy == proxy


@pytest.mark.parametrize(
    "proxy", ["proxy:3128", "socks5://u:secret@proxy", "http://", "http://u:secret@proxy/path", 1]
)
def test_bad_proxies(proxy):
    with pytest.raises(ValidationError, match=r"^proxy=.*must be http://host:port") as caught:
        make(proxy=proxy)
    assert "secret" not in str(caught.value)


def test_secrets_stay_out_of_repr():
    config = make(proxy="http://user:p@ss:word@proxy:3128", boto3_session=Session())
    shown = repr(config)
    assert "http://***@proxy:3128" in shown
    assert "word" not in shown
    assert "user" not in shown
    assert "boto3_session" not in shown
    assert "endpoint_name='ep', region='us-west-2'" in shown


def test_the_session_is_no_part_of_the_identity():
    assert make(boto3_session=Session()) == make()
    assert hash(make(boto3_session=Session())) == hash(make())


@pytest.mark.parametrize("value", [object(), "default", Session])
def test_a_session_must_be_one(value):
    with pytest.raises(ValidationError, match=r"boto3\.Session, or None"):
        make(boto3_session=value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (types.ModuleType("boto3"), r"this is a module: make one with boto3\.Session\(\)"),
        (Session, "this is a class"),
        (Credentials("a", "b"), "these are credentials"),
        (types.SimpleNamespace(get_credentials="a key"), "or None$"),
        (types.SimpleNamespace(get_credentials=lambda profile: profile), "wants arguments"),
        (AsynchronousSession(), "asynchronous"),
        (types.SimpleNamespace(get_credentials=print, _session=AsynchronousSession()), "aioboto3"),
    ],
)
def test_why_something_is_no_session_is_said(value, reason):
    with pytest.raises(ValidationError, match=rf"^boto3_session=.*{reason}") as caught:
        make(boto3_session=value)
    assert caught.value.parameter == "boto3_session"


def test_sessions_of_every_honest_kind_are_taken():
    import boto3
    import botocore.session

    for session in (boto3.Session(), botocore.session.get_session(), Session(), MagicMock()):
        assert make(boto3_session=session).boto3_session is session


def test_replace_checks_again():
    with pytest.raises(ValidationError):
        dataclasses.replace(make(), max_retries=-1)


def test_it_is_a_value_error_and_ours():
    with pytest.raises(ValueError, match="max_retries"):
        make(max_retries=-1)
    with pytest.raises(SageMakerError):
        make(max_retries=-1)


def test_a_copy_is_the_same_and_shares_what_cannot_be_copied():
    import boto3

    config = make(boto3_session=boto3.Session(), retry_budget=math.inf)
    for made in (copy.copy(config), copy.deepcopy(config), copy.deepcopy([config])[0]):
        assert made == config
        assert made.boto3_session is config.boto3_session
    config = make(ca_bundle="a.pem", proxy="http://u:p@proxy")
    assert pickle.loads(pickle.dumps(config)) == config
