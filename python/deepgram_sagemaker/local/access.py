"""Who may call the local endpoint, and from where."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Credentials", "is_loopback", "refuse_exposure"]


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """An identity whose signatures the endpoint accepts.

    Attributes:
        access_key_id: the access key's id.
        secret_access_key: its secret.
        session_token: the token that has to come with it; None: none may.
        expires_at: when it expires, in seconds since 1970; None: never.
    """

    access_key_id: str = "AKIDLOCALENDPOINT"
    secret_access_key: str = dataclasses.field(default="local-endpoint", repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)
    expires_at: float | None = None


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address.

    A host that is no IP address counts as loopback: the server refuses it anyway.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def refuse_exposure(host: str, credentials: Iterable[Credentials]) -> None:
    """Refuse the default secret, which is public, where others reach the endpoint.

    Raises:
        ValueError: an identity has the default secret, and `host` is not loopback.
    """
    if not is_loopback(host) and any(
        identity.secret_access_key == Credentials().secret_access_key for identity in credentials
    ):
        raise ValueError(
            f"an endpoint on {host}, which others can reach, needs credentials of its "
            "own: pass credentials=Credentials(access_key_id=..., secret_access_key=...); "
            "the default ones are for loopback (127.0.0.1, ::1)"
        )
