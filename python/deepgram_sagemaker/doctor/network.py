"""The way to the host: its address, the proxy, DNS, TCP, TLS."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from deepgram_sagemaker._native import quote
from deepgram_sagemaker.config import mask_userinfo

from .findings import FailedError, SkippedError, Told

if TYPE_CHECKING:
    from .case import Case, Way

__all__ = ["address", "dns", "proxy", "tcp", "tls"]

_SYSTEM: Final = "the system's authorities"
_PORTS: Final = {"http": 80, "https": 443}

_PROXY_ADVICE: Final = {
    401: "put the proxy's user and password into HTTPS_PROXY: http://user:password@host:port",
    407: "put the proxy's user and password into HTTPS_PROXY: http://user:password@host:port",
}


async def address(case: Case) -> Told:
    """Say where the settings, the environment and the shared files lead."""
    way = await case.way()
    kind = "a host of AWS" if way.is_aws else "not a host of AWS"
    return Told(
        f"{way.host}:{way.port}, {kind}",
        {"host": way.host, "port": way.port, "ca_bundle": way.ca_bundle},
    )


async def proxy(case: Case) -> Told:
    """Have the proxy connect to the host, if there is one."""
    way = await case.way()
    if way.proxy is None:
        return Told("none is used", {"proxy": None})
    shown = mask_userinfo(way.proxy).strip("'")
    try:
        connection = await case.in_thread(lambda: _tunnel(way, case.within), "asking the proxy")
    # First, because some of these are errors of the system, too.
    except http.client.HTTPException as error:
        raise FailedError(
            f"{shown} does not answer like an HTTP proxy: {quote(str(error))}",
            "check its port; SOCKS is not supported",
            proxy=shown,
        ) from None
    except OSError as error:
        raise FailedError(
            f"the proxy {shown} cannot be reached: {_words(error)}",
            "check HTTPS_PROXY and NO_PROXY (hosts to reach without it), and whether it runs",
            proxy=shown,
        ) from None
    connection.close()
    return Told(f"{shown} connects to {way.host}:{way.port}", {"proxy": shown})


async def dns(case: Case) -> Told:
    """Look up the host's name."""
    way = await case.way()
    if way.proxy is not None:
        raise SkippedError("the proxy looks the name up")
    try:
        found = await case.in_thread(
            lambda: socket.getaddrinfo(way.host, way.port, type=socket.SOCK_STREAM),
            "looking up the host's name",
        )
    except (OSError, UnicodeError) as error:
        raise FailedError(f"{way.host} was not found: {_words(error)}") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    return Told(f"{way.host} is {', '.join(addresses)}", {"addresses": addresses})


async def tcp(case: Case) -> Told:
    """Connect to the host's port."""
    way = await case.way()
    if way.proxy is not None:
        raise SkippedError("the proxy connects")
    began = time.monotonic()
    try:
        connection = await case.in_thread(lambda: _connected(way, case.within), "connecting")
    except OSError as error:
        raise FailedError(f"no connection to {way.host}:{way.port}: {_words(error)}") from None
    seconds = time.monotonic() - began
    connection.close()
    return Told(f"{way.host}:{way.port} in {seconds * 1_000:.0f} ms", {"connect_seconds": seconds})


async def tls(case: Case) -> Told:
    """Agree on TLS and HTTP/2 with the host."""
    way = await case.way()
    if way.proxy is not None and urlsplit(way.proxy).scheme == "https":
        raise SkippedError("the proxy itself speaks TLS; opening a session checks the host's")
    trusted = way.ca_bundle or _SYSTEM
    try:
        facts = await case.in_thread(lambda: _handshake(way, case.within), "agreeing on TLS")
    except ssl.SSLCertVerificationError as error:
        raise FailedError(
            f"the certificate of {way.host}:{way.port} is not accepted: "
            f"{quote(error.verify_message)} (trusted: {trusted})",
            "for a private authority, or a proxy that opens TLS, set AWS_CA_BUNDLE (ca_bundle) to "
            "a PEM file with the authority's certificate",
        ) from None
    except (OSError, ValueError) as error:
        raise FailedError(
            f"no TLS with {way.host}:{way.port}: {_words(error)} (trusted: {trusted})"
        ) from None
    if facts["alpn"] != "h2":
        raise FailedError(
            f"{way.host}:{way.port} does not offer HTTP/2 (ALPN h2)",
            "use port 8443 on AWS; a load balancer or a proxy that opens TLS has to pass ALPN h2",
            **facts,
        )
    return Told(
        f"{facts['version']}, ALPN h2, in {facts['seconds'] * 1_000:.0f} ms; the certificate is "
        f"by {facts['issuer']} (trusted: {trusted})",
        facts,
    )


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came back in time"
    return quote(getattr(error, "strerror", None) or str(error)) or type(error).__name__


def _connected(way: Way, within: float) -> socket.socket:
    return socket.create_connection((way.host, way.port), timeout=within)


def _tunnel(way: Way, within: float) -> socket.socket:
    """Return a connection to the proxy that goes on to the host.

    Raises:
        FailedError: The proxy refuses, or there is no TLS with it.
        OSError: It cannot be reached.
        http.client.HTTPException: It does not speak HTTP.
    """
    parts = urlsplit(way.proxy or "")
    address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
    connection = socket.create_connection(address, timeout=within)
    try:
        if parts.scheme == "https":
            connection = _wrapped(connection, way, parts.hostname)
        host = f"[{way.host}]" if ":" in way.host else way.host
        head = f"CONNECT {host}:{way.port} HTTP/1.1\r\nHost: {host}:{way.port}\r\n"
        if parts.username is not None:
            userinfo = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            head += f"Proxy-Authorization: Basic {base64.b64encode(userinfo.encode()).decode()}\r\n"
        connection.sendall(f"{head}\r\n".encode())
        # Closing the answer leaves the connection open. If it were not closed, the connection would
        # stay open after its own close.
        with closing(http.client.HTTPResponse(connection, method="CONNECT")) as answer:
            answer.begin()
            status, reason = answer.status, answer.reason
    except BaseException:
        connection.close()
        raise
    if status != http.client.OK:
        connection.close()
        raise FailedError(
            f"the proxy {mask_userinfo(way.proxy).strip(chr(39))} refuses to connect to "
            f"{way.host}:{way.port}: HTTP {status} {quote(reason)}",
            _PROXY_ADVICE.get(status),
            status=status,
        )
    return connection


def _wrapped(connection: socket.socket, way: Way, name: str | None) -> socket.socket:
    """Return a connection to a proxy with TLS to the proxy itself.

    Raises:
        FailedError: The proxy does not speak TLS, or its certificate is not accepted.
    """
    shown, trusted = mask_userinfo(way.proxy).strip("'"), way.ca_bundle or _SYSTEM
    try:
        return _context(way).wrap_socket(connection, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        raise FailedError(
            f"the certificate of the proxy {shown} is not accepted: "
            f"{quote(error.verify_message)} (trusted: {trusted})",
            "set AWS_CA_BUNDLE (ca_bundle) to a PEM file that has the proxy's authority, and the "
            "host's besides",
            proxy=shown,
        ) from None
    except (OSError, ValueError) as error:
        raise FailedError(
            f"no TLS with the proxy {shown}: {_words(error)} (trusted: {trusted})",
            "begin the proxy's URL with http:// if it does not itself speak TLS, as most do not",
            proxy=shown,
        ) from None


def _context(way: Way) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=way.ca_bundle)
    # Sessions do not ask for what newer Pythons ask for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _handshake(way: Way, within: float) -> dict[str, Any]:
    context = _context(way)
    context.set_alpn_protocols(["h2"])
    plain = _tunnel(way, within) if way.proxy is not None else _connected(way, within)
    began = time.monotonic()
    with closing(plain), context.wrap_socket(plain, server_hostname=way.host) as secure:
        certificate: Any = secure.getpeercert() or {}
        issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
        return {
            "version": secure.version(),
            "alpn": secure.selected_alpn_protocol(),
            "issuer": quote(issuer.get("organizationName") or issuer.get("commonName") or "?"),
            "expires": certificate.get("notAfter"),
            "seconds": time.monotonic() - began,
        }
