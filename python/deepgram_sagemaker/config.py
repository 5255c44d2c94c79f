"""Settings of a SageMaker transport. Every value is checked at construction."""

from __future__ import annotations

import dataclasses
import inspect
import ipaddress
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Real
from types import ModuleType
from typing import Any, Final, NoReturn, Protocol, Self, runtime_checkable
from urllib.parse import SplitResult, urlsplit

from .errors import ValidationError

__all__ = [
    "DEFAULT_BACKOFF_MULTIPLIER",
    "DEFAULT_CONNECTION_ACQUIRE_TIMEOUT",
    "DEFAULT_CONNECTION_TIMEOUT",
    "DEFAULT_INITIAL_BACKOFF",
    "DEFAULT_MAX_BACKOFF",
    "DEFAULT_MAX_CONCURRENCY",
    "DEFAULT_MAX_REPLAY_BUFFER_BYTES",
    "DEFAULT_MAX_RETRIES",
    "DEFAULT_RETRY_BUDGET",
    "DEFAULT_SUBSCRIPTION_TIMEOUT",
    "REGION_OF_BOTO3",
    "DefaultRegion",
    "Endpoint",
    "SageMakerConfig",
    "SupportsCredentials",
    "each_endpoint",
    "mask_userinfo",
    "names_of",
    "parse_endpoint_uri",
    "parse_proxy",
]

# In seconds, except counts, bytes and the multiplier.
DEFAULT_CONNECTION_TIMEOUT: Final = 30.0
DEFAULT_CONNECTION_ACQUIRE_TIMEOUT: Final = 60.0
DEFAULT_SUBSCRIPTION_TIMEOUT: Final = 60.0
DEFAULT_MAX_CONCURRENCY: Final = 500
DEFAULT_MAX_RETRIES: Final = 5
DEFAULT_INITIAL_BACKOFF: Final = 0.1
DEFAULT_MAX_BACKOFF: Final = 5.0
DEFAULT_BACKOFF_MULTIPLIER: Final = 2.0
DEFAULT_RETRY_BUDGET: Final = 30.0
DEFAULT_MAX_REPLAY_BUFFER_BYTES: Final = 8 * 1024 * 1024

REGION_OF_BOTO3: Final = "auto"
"""The `region` that stands for the one that boto3 would use."""

# Well within the range of the native side's clocks and counters.
_MOST_SECONDS: Final = 1_000_000_000
_MOST_TIMES: Final = 1_000_000
_MOST: Final = 2**31 - 1
_MOST_BYTES: Final = 2**40

# Below this interval, KeepAlives would flood the service.
_LEAST_KEEPALIVE: Final = 0.001

# Characters of a refused value that an error message repeats.
_MAX_SHOWN: Final = 500

# The service's own limits, from its API model.
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_MAX_NAME = 63
_REGION = re.compile(r"[a-z]{2,8}(-[a-z]+){1,2}-[0-9]{1,2}")
_SERVICE_STREAM_LIFETIME = 1800.0

# Nova closes a stream after this many seconds without input.
_NOVA_SILENCE = 10.0

_HOST_LABEL = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?")
_MEDIA_TYPE = re.compile(r"[!-~]+/[!-~]+(;[ -~]*)?")


class DefaultRegion(str):
    """The region if none is given; its type tells it from the same region given."""

    __slots__ = ()


@runtime_checkable
class SupportsCredentials(Protocol):
    """Source of AWS credentials: a `boto3.Session`, or a botocore session."""

    def get_credentials(self) -> object:
        """Return botocore credentials, or None if there are none. May block."""


@dataclass(frozen=True, repr=False)
class Endpoint:
    """An endpoint that sessions fall back to: one of `SageMakerConfig.fallbacks`.

    It is checked by the config that has it. A field that is None is taken from the config, except
    `endpoint_uri` and `target_variant`, which belong to one endpoint.

    Attributes:
        endpoint_name: The SageMaker endpoint's name.
        region: The endpoint's AWS region, which requests are signed for.
        target_variant: The production variant to invoke; None: the endpoint chooses by weight.
        endpoint_uri: Where to connect; None: as the environment or the shared files say, or else
            the region's host.
        ca_bundle: PEM file of the certificate authorities to trust instead of the system's.
        proxy: HTTP proxy to CONNECT through; an empty string: none.
        use_fips_endpoint: Whether to use the FIPS 140 host. Not taken from the config if
            `endpoint_uri` is given.
        use_dualstack_endpoint: Whether to use the IPv4 and IPv6 host. Likewise.
        boto3_session: Source of credentials for this endpoint, such as one of another account.
    """

    endpoint_name: str
    region: str | None = None
    target_variant: str | None = field(default=None, kw_only=True)
    endpoint_uri: str | None = field(default=None, kw_only=True)
    ca_bundle: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    proxy: str | None = field(default=None, kw_only=True)
    use_fips_endpoint: bool | None = field(default=None, kw_only=True)
    use_dualstack_endpoint: bool | None = field(default=None, kw_only=True)
    boto3_session: SupportsCredentials | None = field(
        default=None, kw_only=True, repr=False, compare=False
    )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # As a config.
        return self

    def __repr__(self) -> str:
        return _shown_fields(self)


@dataclass(frozen=True, repr=False)
class SageMakerConfig:
    """How to reach one SageMaker endpoint, and how long to retry.

    Every field is checked. A field that breaks its rule raises a `ValidationError` (also a
    `ValueError`) that names the field, the value and the rule. Times are in seconds, at most
    1,000,000,000. `inf` means no limit, where a field allows it. Numbers of any real type are
    accepted and kept as `float`; counts may be whole floats and are kept as `int`, at most
    2,147,483,647.

    Attributes:
        endpoint_name: The SageMaker endpoint's name: at most 63 letters, digits and inner hyphens.
        region: The endpoint's AWS region. `auto`: the region of `boto3_session`, of
            `AWS_DEFAULT_REGION` or of the profile, as boto3 finds it, or else of `AWS_REGION`. It
            is looked up with the first connection.
        content_type: Media type of the input. Accepted as in earlier releases; the streaming
            operation has no field for it.
        accept_type: Media type of the output. Accepted likewise.
        connection_timeout: Seconds for TCP, TLS and HTTP/2 together, or `inf`. The look-up of
            credentials comes before them and has the same limit, though at least one second.
        connection_acquire_timeout: Seconds to wait for one of `max_concurrency` streams, or for
            a connection of the pool; or `inf`.
        subscription_timeout: Seconds from the request to its response headers; or `inf`.
        max_concurrency: Streams open at once, over all sessions of one factory.
        max_retries: Retries after transient failures since the last progress; 0: none.
        initial_backoff: Longest wait in seconds before the first retry; the wait itself is random.
        max_backoff: Longest wait in seconds before any retry; or `inf`.
        backoff_multiplier: Factor by which the longest wait grows per retry, from 1 to 1,000,000;
            `inf`: it is `max_backoff` from the second retry on.
        retry_budget: Seconds from the first failure since progress until giving up; or `inf`.
        max_replay_buffer_bytes: Bytes of sent, not yet finalised input that are kept for a replay,
            at most 2**40; 0: none.
        endpoint_uri: Where to connect instead of the region's host, such as a PrivateLink name:
            `https://host[:port]`. AWS hosts without a port get 8443.
        ca_bundle: PEM file of the certificate authorities to trust instead of the system's.
        proxy: HTTP proxy to CONNECT through: `http[s]://[user:password@]host[:port]`. Use `https`
            if the proxy itself speaks TLS; its certificate is checked like the service's. None: as
            `HTTPS_PROXY` and `NO_PROXY` say. An empty string: no proxy, whatever they say.
        use_fips_endpoint: Whether to use the FIPS 140 host; None: as `AWS_USE_FIPS_ENDPOINT` says.
        use_dualstack_endpoint: Whether to use the IPv4 and IPv6 host; None: as
            `AWS_USE_DUALSTACK_ENDPOINT` says.
        target_variant: The production variant to invoke; None: the endpoint chooses by weight.
        max_streams_per_connection: Streams that share one HTTP/2 connection. Frames that they send
            at the same moment are written together, but the streams fail together, and on the real
            service many streams on one connection were seen to starve each other.
        boto3_session: Source of credentials; None: boto3's default chain.
        close_timeout: Seconds that `close()` waits for the last results before it cuts off the
            rest.
        max_leg_age: Seconds after which a stream is replaced by a new one, before the service ends
            it at 30 minutes; None: never.
        stall_timeout: Seconds without a message, while audio waits for its results, after which
            a stream counts as dead; None: never.
        replay_speed: Speed at which audio is sent again, as a multiple of real time, from 1 to
            1,000,000, but never slower than the application sends; None: no limit.
        keepalive_interval: Seconds without input after which a KeepAlive is sent for the
            application, from 0.001 to below 10; None: never.
        fallbacks: Endpoints to use while this one fails, in order of preference. The limits above
            hold for all of them together: `max_concurrency` counts every stream, and
            `max_retries` counts rounds, each of which tries every endpoint once.
    """

    endpoint_name: str
    region: str = DefaultRegion("us-west-2")
    content_type: str = "application/octet-stream"
    accept_type: str = "application/json"
    connection_timeout: float = DEFAULT_CONNECTION_TIMEOUT
    connection_acquire_timeout: float = DEFAULT_CONNECTION_ACQUIRE_TIMEOUT
    subscription_timeout: float = DEFAULT_SUBSCRIPTION_TIMEOUT
    max_concurrency: int = DEFAULT_MAX_CONCURRENCY
    max_retries: int = DEFAULT_MAX_RETRIES
    initial_backoff: float = DEFAULT_INITIAL_BACKOFF
    max_backoff: float = DEFAULT_MAX_BACKOFF
    backoff_multiplier: float = DEFAULT_BACKOFF_MULTIPLIER
    retry_budget: float = DEFAULT_RETRY_BUDGET
    max_replay_buffer_bytes: int = DEFAULT_MAX_REPLAY_BUFFER_BYTES
    endpoint_uri: str | None = field(default=None, kw_only=True)
    ca_bundle: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    proxy: str | None = field(default=None, kw_only=True)
    use_fips_endpoint: bool | None = field(default=None, kw_only=True)
    use_dualstack_endpoint: bool | None = field(default=None, kw_only=True)
    target_variant: str | None = field(default=None, kw_only=True)
    max_streams_per_connection: int = field(default=1, kw_only=True)
    boto3_session: SupportsCredentials | None = field(
        default=None, kw_only=True, repr=False, compare=False
    )
    close_timeout: float = field(default=10.0, kw_only=True)
    max_leg_age: float | None = field(default=1500.0, kw_only=True)
    stall_timeout: float | None = field(default=30.0, kw_only=True)
    replay_speed: float | None = field(default=4.0, kw_only=True)
    keepalive_interval: float | None = field(default=None, kw_only=True)
    fallbacks: Sequence[Endpoint] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValidationError: A field breaks its rule.
        """
        self._check_name("endpoint_name", self.endpoint_name)
        if self.target_variant is not None:
            self._check_name("target_variant", self.target_variant)
        if self.region != REGION_OF_BOTO3 and (
            not isinstance(self.region, str) or not _REGION.fullmatch(self.region)
        ):
            _refuse("region", self.region, "must be an AWS region, such as 'us-west-2', or 'auto'")
        for name in ("content_type", "accept_type"):
            value = getattr(self, name)
            if not isinstance(value, str) or not _MEDIA_TYPE.fullmatch(value):
                _refuse(name, value, "must be a media type, such as 'application/json'")

        for name in (
            "connection_timeout",
            "connection_acquire_timeout",
            "subscription_timeout",
            "max_backoff",
            "retry_budget",
        ):
            self._check_number(name, above=0, at_most=_MOST_SECONDS, unit="seconds", endless=True)
        for name in ("initial_backoff", "close_timeout"):
            self._check_number(name, above=0, at_most=_MOST_SECONDS, unit="seconds")
        self._check_number("backoff_multiplier", at_least=1, at_most=_MOST_TIMES, endless=True)
        if self.initial_backoff > self.max_backoff:
            _refuse(
                "initial_backoff",
                self.initial_backoff,
                f"must not exceed max_backoff ({self.max_backoff!r})",
            )
        self._check_number(
            "max_leg_age", above=0, at_most=_SERVICE_STREAM_LIFETIME, unit="seconds", optional=True
        )
        self._check_number(
            "stall_timeout", above=0, at_most=_MOST_SECONDS, unit="seconds", optional=True
        )
        self._check_number(
            "replay_speed", at_least=1, at_most=_MOST_TIMES, unit="times real time", optional=True
        )
        self._check_number(
            "keepalive_interval",
            at_least=_LEAST_KEEPALIVE,
            below=_NOVA_SILENCE,
            unit="seconds",
            optional=True,
        )
        self._check_count("max_concurrency", at_least=1, at_most=_MOST)
        self._check_count("max_streams_per_connection", at_least=1, at_most=_MOST)
        self._check_count("max_retries", at_least=0, at_most=_MOST)
        self._check_count("max_replay_buffer_bytes", at_least=0, at_most=_MOST_BYTES)

        self._check_endpoint_uri()
        self._check_ca_bundle()
        self._check_proxy()
        if self.boto3_session is not None:
            reason = _session_flaw(self.boto3_session)
            if reason is not None:
                _refuse(
                    "boto3_session",
                    type(self.boto3_session).__name__,
                    f"must be a boto3.Session, or None{reason}",
                )
        self._check_fallbacks()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A config is immutable, and a boto3 session can be shared but not copied.
        return self

    def __repr__(self) -> str:
        return _shown_fields(self)

    def _check_name(self, name: str, value: object) -> None:
        rule = (
            f"must be 1 to {_MAX_NAME} letters, digits and hyphens, and neither begin nor end "
            "with a hyphen"
        )
        if not isinstance(value, str) or len(value) > _MAX_NAME or not _NAME.fullmatch(value):
            if isinstance(value, str) and value.startswith("arn:"):
                rule += "; this is an ARN, the name is what follows its last '/'"
            _refuse(name, value, rule)

    def _check_number(
        self,
        name: str,
        *,
        above: float | None = None,
        at_least: float | None = None,
        at_most: float | None = None,
        below: float | None = None,
        unit: str = "",
        optional: bool = False,
        endless: bool = False,
    ) -> None:
        """Check a field that holds a number of any type, and store it as a float."""
        value = getattr(self, name)
        if value is None and optional:
            return
        bounds = [
            text
            for bound, text in (
                (above, f"above {above}"),
                (at_least, f"at least {at_least}"),
                (at_most, f"at most {at_most}"),
                (below, f"below {below}"),
            )
            if bound is not None
        ]
        number = f"a number of {unit}" if unit else "a number"
        rule = f"must be {number}, {' and '.join(bounds)}"
        if endless:
            rule += ", or inf"
        if optional:
            rule += ", or None"
        number_value = _as_float(value)
        if (
            number_value is None
            or not (math.isfinite(number_value) or (endless and number_value == math.inf))
            or (above is not None and number_value <= above)
            or (at_least is not None and number_value < at_least)
            or (at_most is not None and number_value > at_most and number_value != math.inf)
            or (below is not None and number_value >= below)
        ):
            _refuse(name, value, rule)
        object.__setattr__(self, name, number_value)

    def _check_count(self, name: str, *, at_least: int, at_most: int) -> None:
        """Check a field that holds a whole number of any type, and store it as an int."""
        value = getattr(self, name)
        count = _as_int(value)
        if count is None or not at_least <= count <= at_most:
            _refuse(
                name, value, f"must be a whole number, at least {at_least} and at most {at_most}"
            )
        object.__setattr__(self, name, count)

    def _check_endpoint_uri(self) -> None:
        uri = self.endpoint_uri
        for name in ("use_fips_endpoint", "use_dualstack_endpoint"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                _refuse(name, value, "must be True, False or None")
            if value and uri is not None:
                _refuse(
                    name,
                    value,
                    "cannot be combined with endpoint_uri: give the host that you mean there",
                )
        if uri is not None:
            parse_endpoint_uri("endpoint_uri", uri)

    def _check_ca_bundle(self) -> None:
        if self.ca_bundle is None:
            return
        rule = "must be the path of a PEM file, or None"
        if not isinstance(self.ca_bundle, str | os.PathLike):
            _refuse("ca_bundle", self.ca_bundle, rule)
        path = os.fspath(self.ca_bundle)
        if not isinstance(path, str) or not path or "\0" in path:
            _refuse("ca_bundle", self.ca_bundle, rule)
        object.__setattr__(self, "ca_bundle", path)

    def _check_proxy(self) -> None:
        if self.proxy is not None and self.proxy != "":
            parse_proxy("proxy", self.proxy)

    def _check_fallbacks(self) -> None:
        """Check every fallback as the config that it stands for, and store them as a tuple."""
        given: object = self.fallbacks
        if not isinstance(given, Sequence) or isinstance(given, str | bytes):
            _refuse("fallbacks", given, "must be a list of Endpoint")
        object.__setattr__(self, "fallbacks", tuple(given))
        places = [_place(self)]
        for number, endpoint in enumerate(given):
            name = f"fallbacks[{number}]"
            if not isinstance(endpoint, Endpoint):
                _refuse(name, endpoint, "must be an Endpoint")
            try:
                place = _place(_config_at(self, endpoint))
            except ValidationError as error:
                raise ValidationError(
                    f"{name}.{error.message}", parameter=f"{name}.{error.parameter}"
                ) from None
            if place in places:
                earlier = places.index(place)
                same = "the config itself" if earlier == 0 else f"fallbacks[{earlier - 1}]"
                _refuse(name, endpoint, f"must be another endpoint than {same}")
            places.append(place)


def each_endpoint(config: SageMakerConfig) -> tuple[SageMakerConfig, ...]:
    """Return a config for each endpoint, in order of preference, each without fallbacks."""
    if not config.fallbacks:
        return (config,)
    first = dataclasses.replace(config, fallbacks=())
    return (first, *(_config_at(config, endpoint) for endpoint in config.fallbacks))


def names_of(endpoints: Sequence[SageMakerConfig]) -> list[str]:
    """Return what each endpoint is called in figures, errors and the log; no two are the same."""
    names: list[str] = []
    for number, config in enumerate(endpoints, 1):
        variant = "" if config.target_variant is None else f"/{config.target_variant}"
        name = f"{config.endpoint_name}{variant} ({config.region})"
        names.append(f"{name} #{number}" if name in names else name)
    return names


_INHERITED: Final = (
    "region",
    "ca_bundle",
    "proxy",
    "use_fips_endpoint",
    "use_dualstack_endpoint",
    "boto3_session",
)
"""What an endpoint takes from its config if it has none of its own."""

_OF_THE_HOST: Final = ("use_fips_endpoint", "use_dualstack_endpoint")
"""What says which of a region's hosts is meant."""


def _config_at(config: SageMakerConfig, endpoint: Endpoint) -> SageMakerConfig:
    """Return the config of one of the fallbacks."""
    own = {each.name: getattr(endpoint, each.name) for each in dataclasses.fields(Endpoint)}
    for name in _INHERITED:
        if own[name] is None and not (name in _OF_THE_HOST and endpoint.endpoint_uri is not None):
            own[name] = getattr(config, name)
    return dataclasses.replace(config, fallbacks=(), **own)


def _place(config: SageMakerConfig) -> tuple[object, ...]:
    """Return what tells an endpoint from others."""
    return (
        config.endpoint_name,
        config.region,
        config.endpoint_uri,
        config.target_variant,
        config.proxy,
        config.use_fips_endpoint,
        config.use_dualstack_endpoint,
        id(config.boto3_session),
    )


def _shown_fields(settings: SageMakerConfig | Endpoint) -> str:
    """Return the `repr` of settings, with user names and passwords masked."""
    shown = (
        f"{each.name}={mask_userinfo(value)}"
        for each in dataclasses.fields(settings)
        if each.repr
        for value in (getattr(settings, each.name),)
    )
    return f"{type(settings).__name__}({', '.join(shown)})"


def _session_flaw(session: object) -> str | None:
    """Return why an object cannot provide credentials, as the end of a sentence; None: it can.

    Calling it would tell more but may block, so that is left to the first look-up.
    """
    if isinstance(session, type):
        return "; this is a class: make one of it"
    if isinstance(session, ModuleType):
        return "; this is a module: make one with boto3.Session()"
    ask = getattr(session, "get_credentials", None)
    if not callable(ask):
        if hasattr(session, "get_frozen_credentials"):
            return "; these are credentials: give the session that they come from"
        return ""
    # The botocore session inside a boto3 one; aioboto3 has an asynchronous one there.
    core = getattr(getattr(session, "_session", None), "get_credentials", None)
    if inspect.iscoroutinefunction(ask) or inspect.iscoroutinefunction(core):
        return "; this one is asynchronous (aioboto3, aiobotocore), and is asked from a thread"
    try:
        inspect.signature(ask).bind()
    except TypeError:
        return "; its get_credentials() wants arguments"
    except ValueError:
        pass  # It has no signature to read.
    return None


def parse_endpoint_uri(name: str, value: object) -> SplitResult:
    """Check an endpoint's URI and split it.

    Args:
        name: The setting's name in the error: a field or an environment variable.
        value: The URI.

    Raises:
        ValidationError: It is not `https://host[:port][/path]`.
    """
    rule = "must be https://host or https://host:port"
    parts = _split(name, value, rule)
    if parts.scheme == "http":
        rule = f"{rule}: the service is reached over TLS only, and plain http would not work"
        _refuse(name, value, rule)
    if parts.scheme != "https" or parts.username is not None or parts.query or parts.fragment:
        _refuse(name, value, rule)
    return parts


def parse_proxy(name: str, value: object) -> SplitResult:
    """Check a proxy's URL and split it.

    Args:
        name: The setting's name in the error: a field or an environment variable.
        value: The URL.

    Raises:
        ValidationError: It is not `http[s]://[user:password@]host[:port]`.
    """
    rule = (
        "must be http://host:port, or https:// for a proxy that speaks TLS itself, with "
        "user:password@ before the host where the proxy asks"
    )
    parts = _split(name, value, rule)
    if (
        parts.scheme not in ("http", "https")
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        _refuse(name, value, rule)
    return parts


def mask_userinfo(value: object) -> str:
    """Return the `repr` of a URL with its user name and password masked."""
    if isinstance(value, str) and "@" in value:
        before, _, host = value.rpartition("@")
        scheme, slashes, _ = before.rpartition("://")
        return repr(f"{scheme}{slashes}***@{host}")
    return repr(value)


def _as_float(value: object) -> float | None:
    """Return a number of any type as a float; None: not a number, or too large."""
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        # ValueError comes from a signalling NaN.
        return None
    # A Decimal that is too large becomes infinite without an error.
    return None if math.isinf(number) and value != number else number


def _as_int(value: object) -> int | None:
    """Return a whole number of any type as an int; None: not a whole number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Integral):
        return int(value)
    number = _as_float(value)
    # A float represents every allowed count exactly.
    return int(number) if number is not None and number.is_integer() else None


def _split(name: str, value: object, rule: str) -> SplitResult:
    """Split a URL and check its host and port."""
    if not isinstance(value, str):
        _refuse(name, value, rule)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError:
        _refuse(name, value, rule)
    # urlsplit drops tabs and line breaks without an error.
    if not value.isascii() or not value.isprintable() or " " in value:
        _refuse(name, value, rule)
    if host is None or not _is_host(host) or port == 0:
        _refuse(name, value, rule)
    return parts


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    labels = host.removesuffix(".").split(".")
    return len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in labels)


def _refuse(name: str, value: object, rule: str) -> NoReturn:
    # Userinfo is masked in every field, because a URL may have been given to the wrong one.
    raise ValidationError(f"{name}={_shown(value)}: {name} {rule}", parameter=name)


def _shown(value: object) -> str:
    """Return the given value, truncated; an int of thousands of digits has no `repr`."""
    try:
        shown = mask_userinfo(value)
    except ValueError:
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"
