"""What users of a gateway pass in and get: keys, pages, finished requests."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Key", "Page", "Served"]


@dataclass(frozen=True, slots=True)
class Key:
    """A key that lets clients in.

    Attributes:
        name: What its holder is called in logs; the key itself is never logged.
        secret: What clients send.
        most: The most connections at a time; None: any number.
    """

    name: str
    secret: str = field(repr=False)
    most: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: A name or a key is empty, or cannot be sent in a header.
        """
        if not self.name:
            raise ValueError("a key needs a name, by which logs call it")
        is_sendable = self.secret.isascii() and self.secret.isprintable()
        if not self.secret or not is_sendable or " " in self.secret or "," in self.secret:
            raise ValueError(
                f"the key {self.name!r} must be printable ASCII without blanks and commas"
            )
        if self.most is not None and self.most < 1:
            raise ValueError(f"the key {self.name!r} must allow at least one connection")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer in plain HTTP.

    Attributes:
        body: Its bytes.
        content_type: Their type.
        status: The HTTP status.
    """

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One request that is over. It has nothing of what was said or sent, and no key.

    Attributes:
        id: The request's id, which the client has as `dg-request-id`; also the session's.
        path: The path, as it came.
        route: The product's path, such as `v1/listen`; None: it asked for something else.
        key: The name of the client's key; None: there are no keys, it has none that is known, or it
            was refused before that mattered.
        peer: The client's address and port.
        user_agent: What the client calls itself.
        status: The HTTP status: 101 for a WebSocket.
        error: Deepgram's name for the refusal, or the class of the error that ended the session.
        close_code: The close code of the WebSocket; None: there was none.
        by: Who ended it: `client`, `gateway`, `lost` (the connection broke, or the client no longer
            answered), or `refused`.
        seconds: Seconds from the request to the end.
        messages_in: Messages from the client.
        bytes_in: Their bytes.
        messages_out: Messages to the client.
        bytes_out: Their bytes.
        audio_seconds: Seconds of audio sent to the service, each counted once; 0 where the rate of
            the audio is unknown.
        resets: Streams to the service that broke and were followed by another.
    """

    id: str
    path: str
    route: str | None = None
    key: str | None = None
    peer: str = ""
    user_agent: str | None = None
    status: int = 101
    error: str | None = None
    close_code: int | None = None
    by: str = "refused"
    seconds: float = 0.0
    messages_in: int = 0
    bytes_in: int = 0
    messages_out: int = 0
    bytes_out: int = 0
    audio_seconds: float = 0.0
    resets: int = 0
