"""Where the service is: its URI, the authorities to trust and the proxy on the way.

All of it follows from the settings and the environment, as the AWS tools read it, and nothing is
looked up in the network. The functions are pure, so that what they say can be tested.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from deepgram_sagemaker.config import parse_endpoint_uri, parse_proxy
from deepgram_sagemaker.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from smithy_core.endpoints import Endpoint, EndpointResolverParams

    from deepgram_sagemaker.config import SageMakerConfig

__all__ = ["EndpointResolver", "resolve_ca_bundle", "resolve_endpoint_uri", "resolve_proxy"]

SERVICE_PORT: Final = 8443
"""The only port that speaks the streaming operation; on 443 a stream opens and then hangs."""

_URL_VARIABLES: Final = ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, slots=True)
class Partition:
    """A set of regions under one pair of DNS suffixes."""

    regions: re.Pattern[str]
    suffix: str
    dualstack_suffix: str
    fips_host: str = "runtime-fips.sagemaker"


_PARTITIONS: Final = (
    Partition(re.compile(r"cn-.*"), "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    Partition(re.compile(r"us-gov-.*"), "amazonaws.com", "api.aws"),
    Partition(re.compile(r"us-iso-.*"), "c2s.ic.gov", "api.aws.ic.gov"),
    Partition(re.compile(r"us-isob-.*"), "sc2s.sgov.gov", "api.aws.scloud"),
    # The one partition for which the service's rules have no FIPS host of its own form.
    Partition(
        re.compile(r"eu-isoe-.*"),
        "cloud.adc-e.uk",
        "api.cloud-aws.adc-e.uk",
        fips_host="runtime.sagemaker-fips",
    ),
    Partition(re.compile(r"us-isof-.*"), "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    Partition(re.compile(r"eusc-.*"), "amazonaws.eu", "api.amazonwebservices.eu"),
    # What is not listed is a region of the standard partition, opened after this was written.
    Partition(re.compile(r".*"), "amazonaws.com", "api.aws"),
)

_AWS_SUFFIXES: Final = tuple(
    f".{suffix}" for each in _PARTITIONS for suffix in (each.suffix, each.dualstack_suffix)
)


def resolve_endpoint_uri(config: SageMakerConfig, environ: Mapping[str, str]) -> str:
    """The URI to connect to.

    In order: `config.endpoint_uri`; unless `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` is true,
    `AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2` and `AWS_ENDPOINT_URL`; the region's host, FIPS
    or dual-stack as the settings or else the environment say.

    Args:
        config: The settings.
        environ: The environment's variables.

    Returns:
        `https://host[:port][/path]`, without a slash at its end. AWS hosts have port 8443 unless
        another was given.

    Raises:
        ValidationError: A variable holds no such URI, or one contradicts the settings.
    """
    if config.endpoint_uri is not None:
        return _with_port(parse_endpoint_uri("endpoint_uri", config.endpoint_uri))
    if not _is_true(environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")):
        for variable in _URL_VARIABLES:
            uri = environ.get(variable, "").strip()
            if uri:
                _refuse_contradiction(config, variable)
                return _with_port(parse_endpoint_uri(variable, uri))
    return f"https://{_regional_host(config, environ)}:{SERVICE_PORT}"


def resolve_ca_bundle(config: SageMakerConfig, environ: Mapping[str, str]) -> str | None:
    """The PEM file of authorities to trust, or None for the system's.

    In order: `config.ca_bundle`, `AWS_CA_BUNDLE`, `REQUESTS_CA_BUNDLE`, as boto3 does.

    Args:
        config: The settings.
        environ: The environment's variables.

    Raises:
        ValidationError: The path given does not name a file.
    """
    for name, value in (
        ("ca_bundle", config.ca_bundle),
        ("AWS_CA_BUNDLE", environ.get("AWS_CA_BUNDLE")),
        ("REQUESTS_CA_BUNDLE", environ.get("REQUESTS_CA_BUNDLE")),
    ):
        if value:
            if not Path(value).is_file():
                raise ValidationError(
                    f"{name}={str(value)!r}: {name} must name a PEM file, and there is none",
                    parameter=name,
                )
            return str(value)
    return None


def resolve_proxy(config: SageMakerConfig, environ: Mapping[str, str], uri: str) -> str | None:
    """The HTTP proxy to go through, or None for none.

    `config.proxy` is used for every host, and an empty one means none at all. Otherwise
    `https_proxy` or `HTTPS_PROXY` is used, unless `no_proxy` or `NO_PROXY` names the host. Where
    both spellings are set, the lower-case one counts. Loopback addresses are hosts like any other.

    Args:
        config: The settings.
        environ: The environment's variables.
        uri: Where the connection is to go in the end.

    Returns:
        `http[s]://[user:password@]host[:port]`.

    Raises:
        ValidationError: The variable holds something else.
    """
    if config.proxy is not None:
        return config.proxy or None
    variable = "https_proxy" if "https_proxy" in environ else "HTTPS_PROXY"
    proxy = environ.get(variable, "").strip()
    if not proxy:
        return None
    no_proxy = environ.get("no_proxy", environ.get("NO_PROXY", ""))
    target = urlsplit(uri)
    if _is_excluded(target.hostname or "", target.port or 443, no_proxy):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    parse_proxy(variable, proxy)
    return proxy


class EndpointResolver:
    """The AWS SDK's endpoint resolver, in place of its own: port, partitions, FIPS, dual-stack.

    The answer is found at the first request and kept, so that all requests of one client go
    where its connections are.

    Args:
        config: The settings.
        environ: The environment's variables; None: the process's, at the first request.
    """

    def __init__(self, config: SageMakerConfig, environ: Mapping[str, str] | None = None) -> None:
        self._config = config
        self._environ = environ
        self._endpoint: Endpoint | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Itself: the SDK copies its settings, and a session in ours may not be copied."""
        return self

    async def resolve_endpoint(self, params: EndpointResolverParams[Any]) -> Endpoint:
        """The endpoint, the same for every operation.

        Args:
            params: The SDK's view of the call, of which nothing is needed.

        Raises:
            ValidationError: See `resolve_endpoint_uri`.
        """
        del params
        if self._endpoint is None:
            self._endpoint = _sdk_endpoint(self._config, self._environ)
        return self._endpoint


def _sdk_endpoint(config: SageMakerConfig, environ: Mapping[str, str] | None) -> Endpoint:
    # Imported late: who only makes a configuration needs no AWS SDK.
    from smithy_core import URI
    from smithy_core.endpoints import Endpoint

    parts = urlsplit(resolve_endpoint_uri(config, os.environ if environ is None else environ))
    return Endpoint(
        uri=URI(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port,
            path=parts.path or None,
        )
    )


def _regional_host(config: SageMakerConfig, environ: Mapping[str, str]) -> str:
    partition = next(each for each in _PARTITIONS if each.regions.fullmatch(config.region))
    fips = config.use_fips_endpoint
    if fips is None:
        fips = _is_true(environ.get("AWS_USE_FIPS_ENDPOINT"))
    dualstack = config.use_dualstack_endpoint
    if dualstack is None:
        dualstack = _is_true(environ.get("AWS_USE_DUALSTACK_ENDPOINT"))
    prefix = partition.fips_host if fips else "runtime.sagemaker"
    suffix = partition.dualstack_suffix if dualstack else partition.suffix
    return f"{prefix}.{config.region}.{suffix}"


def _with_port(parts: SplitResult) -> str:
    authority = parts.netloc
    if parts.port is None:
        authority = authority.removesuffix(":")
        host = (parts.hostname or "").removesuffix(".")
        if host.endswith(_AWS_SUFFIXES):
            authority = f"{authority}:{SERVICE_PORT}"
    return f"https://{authority}{parts.path.rstrip('/')}"


def _refuse_contradiction(config: SageMakerConfig, variable: str) -> None:
    # Only what the code asks for: the AWS tools let a URL outrank AWS_USE_FIPS_ENDPOINT.
    for name in ("use_fips_endpoint", "use_dualstack_endpoint"):
        if getattr(config, name):
            raise ValidationError(
                f"{name}=True contradicts {variable}: unset the variable, or set "
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true",
                parameter=name,
            )


def _is_true(value: str | None) -> bool:
    return value is not None and value.strip().lower() == "true"


def _is_excluded(host: str, port: int, no_proxy: str) -> bool:
    host = host.lower().removesuffix(".")
    return any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy.lower()))


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether one entry of `NO_PROXY` names a host.

    An entry is `*`, a name (which covers the names below it too, with or without a leading `.`
    or `*.`), an address, or a network in CIDR form; a name or address may carry a port.
    """
    if not entry:
        return False
    if entry == "*":
        return True
    address = _address(host)
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
        return address is not None and address in network
    name, only_port = entry, None
    if _address(entry.strip("[]")) is None:
        name, colon, digits = entry.rpartition(":")
        if not colon:
            name = entry
        elif digits.isdecimal():
            only_port = int(digits)
        else:
            return False
    if only_port is not None and only_port != port:
        return False
    excluded = _address(name.strip("[]"))
    if excluded is not None or address is not None:
        return excluded == address
    name = name.removeprefix("*").removeprefix(".").removesuffix(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
