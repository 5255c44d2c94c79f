"""Where a pool's connections go: what the native `Pool` reads besides the config.

Imports nothing of ours. Tests: `tests/test_wakeups.py` and whatever opens a stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Proxy", "Route"]

_MAX_HANDSHAKES: Final = 32
"""TLS handshakes under way at once. Bursts of 400 have been seen to knock endpoints over."""

_PING_AFTER: Final = 20.0
"""Seconds of silence on a connection after which its peer is pinged."""

_PING_WITHIN: Final = 10.0
"""Seconds that the peer has to answer a ping before the connection counts as dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An HTTP proxy that is asked to CONNECT.

    Attributes:
        host: Its host name or address, without brackets.
        port: Its port.
        tls: Whether it is spoken to over TLS.
        authorization: The value of Proxy-Authorization, if any: a secret.
    """

    host: str
    port: int
    tls: bool
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where connections go, and how they are watched. Times are seconds.

    Attributes:
        host: The endpoint's host name or address, without brackets.
        port: Its port.
        ca_bundle: A PEM file to trust in place of the system's store.
        proxy: The proxy to go through.
        max_handshakes: TLS handshakes under way at the host at once, over all pools.
        ping_after: The silence after which a peer is pinged.
        ping_within: How long the peer has to answer before the connection counts as dead.
    """

    host: str
    port: int
    ca_bundle: str | Path | None = None
    proxy: Proxy | None = None
    max_handshakes: int = _MAX_HANDSHAKES
    ping_after: float = _PING_AFTER
    ping_within: float = _PING_WITHIN
