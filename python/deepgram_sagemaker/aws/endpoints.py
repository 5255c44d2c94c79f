"""Where the service is: its region and URI, the authorities to trust and the proxy to use.

All four follow from the settings, the environment and the shared files, in this order, as the AWS
tools read them. Nothing is looked up in the network. The functions take their inputs as arguments,
so that they can be tested.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from deepgram_sagemaker.config import (
    REGION_OF_BOTO3,
    DefaultRegion,
    parse_endpoint_uri,
    parse_proxy,
)
from deepgram_sagemaker.errors import ValidationError

from .shared_files import NO_PROFILE, SERVICE_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from urllib.parse import SplitResult

    from deepgram_sagemaker.config import SageMakerConfig

    from .shared_files import Profile

__all__ = [
    "is_aws_host",
    "resolve_ca_bundle",
    "resolve_endpoint_uri",
    "resolve_proxy",
    "resolve_region",
]

# All lines about sessions have one logger, whichever module writes them.
_logger = logging.getLogger("deepgram_sagemaker.transport")

SERVICE_PORT: Final = 8443
"""The only port that speaks the streaming operation; on 443 a stream opens and then hangs."""

_URL_VARIABLES: Final = (f"AWS_ENDPOINT_URL_{SERVICE_ID.upper()}", "AWS_ENDPOINT_URL")


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
    # In this partition the service's rules form the FIPS host differently.
    Partition(
        re.compile(r"eu-isoe-.*"),
        "cloud.adc-e.uk",
        "api.cloud-aws.adc-e.uk",
        fips_host="runtime.sagemaker-fips",
    ),
    Partition(re.compile(r"us-isof-.*"), "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    Partition(re.compile(r"eusc-.*"), "amazonaws.eu", "api.amazonwebservices.eu"),
    # Any other region belongs to the standard partition, including future ones.
    Partition(re.compile(r".*"), "amazonaws.com", "api.aws"),
)

_AWS_SUFFIXES: Final = tuple(
    f".{suffix}" for each in _PARTITIONS for suffix in (each.suffix, each.dualstack_suffix)
)


def resolve_region(
    config: SageMakerConfig, environ: Mapping[str, str], profile: Profile = NO_PROFILE
) -> str:
    """Return the region to sign for.

    A region that was given counts. `auto` stands for the region that boto3 would use or, if it
    would find none, for `AWS_REGION`, which boto3 does not read. If none was given, it is the
    default, and a line in the log says so where environment or profile name another.

    Args:
        config: The settings.
        environ: The environment's variables.
        profile: The profile in the shared files.

    Raises:
        ValidationError: The region is `auto`, and nothing names one.
    """
    said = list(_said_regions(config, environ, profile))
    if config.region == REGION_OF_BOTO3:
        if said:
            return said[0][1]
        raise ValidationError(
            "region='auto': boto3 finds no region: set AWS_DEFAULT_REGION, or region in the "
            f"profile {profile.name!r}, or give the endpoint's region",
            parameter="region",
        )
    if isinstance(config.region, DefaultRegion):
        for name, region in said:
            if region != config.region:
                _logger.info(
                    "the region is %s, because none was given, and %s says %s: give "
                    'region="%s" if that is meant, or region="%s" for boto3\'s choice',
                    config.region,
                    name,
                    region,
                    region,
                    REGION_OF_BOTO3,
                )
                break
    return config.region


def _said_regions(
    config: SageMakerConfig, environ: Mapping[str, str], profile: Profile
) -> Iterator[tuple[str, str]]:
    """Yield each region that is named outside the settings, and what names it."""
    if profile.region:
        if profile.region == environ.get("AWS_DEFAULT_REGION"):
            name = "AWS_DEFAULT_REGION"
        elif config.boto3_session is not None:
            name = "the boto3_session"
        else:
            name = f"the profile {profile.name!r}"
        yield name, profile.region
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        if region := environ.get(name):
            yield name, region


def is_aws_host(host: str) -> bool:
    """Return whether a host's name is one of AWS's."""
    return host.removesuffix(".").endswith(_AWS_SUFFIXES)


def resolve_endpoint_uri(
    config: SageMakerConfig, environ: Mapping[str, str], profile: Profile = NO_PROFILE
) -> str:
    """Return the URI to connect to.

    The first of these that is set counts:

    1. `config.endpoint_uri`.
    2. `AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2`, `AWS_ENDPOINT_URL`, `endpoint_url` in the
       profile's `services` section, `endpoint_url` of the profile. These are skipped if
       `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS` or `ignore_configured_endpoint_urls` is true.
    3. The region's host. FIPS and dual-stack follow the settings, else the environment, else the
       profile.

    Args:
        config: The settings.
        environ: The environment's variables.
        profile: The profile in the shared files.

    Returns:
        `https://host[:port][/path]`, without a slash at its end. AWS hosts have port 8443 unless
        another was given.

    Raises:
        ValidationError: The value found is not such a URI, or contradicts the settings; or the
            profile names a `services` section that does not exist.
    """
    if config.endpoint_uri is not None:
        return _with_port(parse_endpoint_uri("endpoint_uri", config.endpoint_uri))
    if not _said("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", environ, profile):
        for name, uri in _configured_urls(environ, profile):
            if uri:
                _refuse_contradiction(config, name)
                return _with_port(parse_endpoint_uri(name, uri))
    return f"https://{_regional_host(config, environ, profile)}:{SERVICE_PORT}"


def resolve_ca_bundle(
    config: SageMakerConfig, environ: Mapping[str, str], profile: Profile = NO_PROFILE
) -> str | None:
    """Return the PEM file of the authorities to trust, or None for the system's.

    The first of these that is set counts, as in boto3: `config.ca_bundle`, `AWS_CA_BUNDLE`, the
    profile's `ca_bundle`, `REQUESTS_CA_BUNDLE`.

    Args:
        config: The settings.
        environ: The environment's variables.
        profile: The profile in the shared files.

    Raises:
        ValidationError: The path does not name a file.
    """
    for name, value in (
        ("ca_bundle", config.ca_bundle),
        ("AWS_CA_BUNDLE", environ.get("AWS_CA_BUNDLE")),
        (profile.described("ca_bundle"), profile.get("ca_bundle")),
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
    """Return the HTTP proxy to use, or None for none.

    `config.proxy` applies to every host; an empty string means no proxy. Otherwise `https_proxy`
    or `HTTPS_PROXY` is used, unless `no_proxy` or `NO_PROXY` names the host. If both spellings are
    set, the lower-case one counts. Loopback addresses get no special treatment.

    Args:
        config: The settings.
        environ: The environment's variables.
        uri: The URI of the service.

    Returns:
        `http[s]://[user:password@]host[:port]`.

    Raises:
        ValidationError: The variable's value is not such a URL.
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


def _configured_urls(
    environ: Mapping[str, str], profile: Profile
) -> Iterator[tuple[str, str | None]]:
    """Yield each place where a URL may be configured, and its value; the first value counts."""
    for variable in _URL_VARIABLES:
        yield variable, environ.get(variable, "").strip()
    section = profile.get("services")
    if section is not None:
        service = profile.services.get(section)
        if service is None:
            name = profile.described("services")
            raise ValidationError(
                f"{name}={section!r}: the shared AWS files have no section [services {section}]",
                parameter=name,
            )
        yield f"endpoint_url of {SERVICE_ID} ([services {section}])", service.get("endpoint_url")
    yield profile.described("endpoint_url"), profile.get("endpoint_url")


def _regional_host(config: SageMakerConfig, environ: Mapping[str, str], profile: Profile) -> str:
    partition = next(each for each in _PARTITIONS if each.regions.fullmatch(config.region))
    fips = config.use_fips_endpoint
    if fips is None:
        fips = _said("AWS_USE_FIPS_ENDPOINT", environ, profile)
    dualstack = config.use_dualstack_endpoint
    if dualstack is None:
        dualstack = _said("AWS_USE_DUALSTACK_ENDPOINT", environ, profile)
    prefix = partition.fips_host if fips else "runtime.sagemaker"
    suffix = partition.dualstack_suffix if dualstack else partition.suffix
    return f"{prefix}.{config.region}.{suffix}"


def _with_port(parts: SplitResult) -> str:
    authority = parts.netloc
    if parts.port is None:
        authority = authority.removesuffix(":")
        if is_aws_host(parts.hostname or ""):
            authority = f"{authority}:{SERVICE_PORT}"
    return f"https://{authority}{parts.path.rstrip('/')}"


def _refuse_contradiction(config: SageMakerConfig, source: str) -> None:
    # Only the settings can contradict: in the AWS tools a URL outranks AWS_USE_FIPS_ENDPOINT.
    for name in ("use_fips_endpoint", "use_dualstack_endpoint"):
        if getattr(config, name):
            raise ValidationError(
                f"{name}=True contradicts {source}: take that away, or set "
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true",
                parameter=name,
            )


def _said(variable: str, environ: Mapping[str, str], profile: Profile) -> bool:
    """Return a flag of the environment, or else the profile's flag of the same name."""
    value = environ.get(variable)
    if value is None:
        value = profile.get(variable.removeprefix("AWS_").lower())
    return value is not None and value.strip().lower() == "true"


def _is_excluded(host: str, port: int, no_proxy: str) -> bool:
    host = host.lower().removesuffix(".")
    return any(_covers(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy.lower()))


def _covers(entry: str, host: str, port: int) -> bool:
    """Return whether one entry of `NO_PROXY` names a host.

    An entry is `*`, a name (which also covers the names below it, with or without a leading `.`
    or `*.`), an address, or a network in CIDR form. A name or address may have a port.
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
