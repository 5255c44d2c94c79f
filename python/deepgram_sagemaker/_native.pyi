"""The native half: what `rust/python` registers. Not public.

`mypy.stubtest` holds this file against the module.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol, final

from typing_extensions import disjoint_base

from .config import SageMakerConfig

__all__ = [
    "Acquiring",
    "Admission",
    "Diagnosis",
    "Gateway",
    "GatewayEnd",
    "GatewayRefusal",
    "GatewayRequest",
    "Interest",
    "Leg",
    "LocalServer",
    "LocalStream",
    "OpenFailure",
    "Opening",
    "Permits",
    "Pool",
    "SendResult",
    "Session",
    "SessionFailure",
    "Step",
    "Waker",
    "__version__",
    "judge",
    "notices",
    "quote",
    "reasons",
    "watermark",
    "whose",
]

__version__: Final[str]

@final
class SendResult:
    """What `Session.send` answers."""

    TAKEN: Final[int]
    """Taken; the loop is already going to flush its waker. 0."""
    HELD: Final[int]
    """Taken; the loop flushes its waker when it has done what else is ready."""
    FULL: Final[int]
    """Not taken: no room now."""
    ENDED: Final[int]
    """Not taken: the session, or its input, has ended in order."""
    FAILED: Final[int]
    """Not taken: the session has failed; the driver knows why, or soon will."""

@final
class Interest:
    """What a session's waiter may wait for, as bits."""

    READABLE: Final[int]
    """A message, or the end."""
    WRITABLE: Final[int]
    """Room for another frame."""
    DRIVER: Final[int]
    """Another step for the driver."""

@final
class Waker:
    """The mailbox of one event loop."""

    def __new__(cls, kind: str = "watched") -> Waker:
        """Make the mailbox of a loop.

        Args:
            kind: `"watched"`: the loop watches a descriptor for reading. `"pair"`: likewise, a
                socket pair on every system. `"far"`: the loop reads from a socket itself.
        """

    def fileno(self) -> int:
        """Return the descriptor to watch for reading."""

    def connect(self) -> int:
        """Make a socket for the loop to read from, in place of an earlier one.

        Returns:
            Its descriptor, which the caller has to close.
        """

    def disconnect(self) -> None:
        """End the connection to the loop's socket; to be called before that is closed."""

    def drain(self) -> list[int]:
        """Return every token not yet taken, oldest first.

        To be called when the descriptor is readable, or when something was read from the socket.
        """

    def flush(self) -> list[int]:
        """Pass the sends of this loop that were held back to the engine.

        Returns:
            Every token not yet taken, oldest first: a loop that flushes every few milliseconds
            takes them here, and is not woken for them.
        """

class _Proxy(Protocol):
    """What `Pool` reads of a proxy: `aws.route.Proxy`."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def tls(self) -> bool: ...
    @property
    def authorization(self) -> str | None: ...

class _Route(Protocol):
    """What `Pool` reads besides the config: `aws.route.Route`."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def ca_bundle(self) -> str | Path | None: ...
    @property
    def proxy(self) -> _Proxy | None: ...
    @property
    def max_handshakes(self) -> int: ...
    @property
    def ping_after(self) -> float: ...
    @property
    def ping_within(self) -> float: ...

@final
class Permits:
    """`max_concurrency`, for several pools together."""

    def __new__(cls, max_concurrency: int) -> Permits: ...

@final
class Pool:
    """Connections to one endpoint, within limits.

    Raises:
        OSError: The CA bundle cannot be used.
    """

    def __new__(
        cls, config: SageMakerConfig, route: _Route, permits: Permits | None = None
    ) -> Pool: ...
    @property
    def waiting(self) -> int:
        """How many openings wait for one of `max_concurrency`."""

    def acquire(self, *, with_permit: bool, waker: Waker, token: int) -> Acquiring:
        """Wait on the engine for the right to open a stream; then post the token."""

@final
class Acquiring:
    """An admission on its way."""

    def take(self) -> Admission | OpenFailure | None:
        """Return the outcome, once; None: there is none yet, or it was cancelled."""

    def cancel(self) -> None:
        """Stop waiting, from any thread; an admission that was not taken is given back."""

@final
class Admission:
    """The right to open one stream."""

    def open(
        self,
        authority: str,
        path: str,
        headers: list[tuple[str, str]],
        *,
        waker: Waker,
        token: int,
    ) -> Opening:
        """Send a POST and wait on the engine for its response headers; then post the token.

        Raises:
            RuntimeError: It has opened a stream already, or was released.
        """

    def release(self) -> None:
        """Give it back, unless it has opened a stream."""

@final
class Opening:
    """A stream on its way."""

    def take(self) -> Leg | OpenFailure | None:
        """Return the outcome, once; None: there is none yet, or it was cancelled."""

    def cancel(self) -> None:
        """Stop waiting, from any thread; a stream that was not taken is closed."""

@final
class Leg:
    """A stream that the service has accepted, until a session takes it over."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The response's headers."""

    def close(self) -> None:
        """Close the stream, unless a session has taken it over."""

    def begin_chain(self, *, secret_access_key: str, region: str, seed_signature: str) -> None:
        """Begin the chain of event signatures, with the key and signature of the request.

        Raises:
            ValueError: `seed_signature` is not a signature.
        """

@final
class OpenFailure:
    """Why there is no stream."""

    @property
    def diagnosis(self) -> Diagnosis:
        """The failure, judged."""

    @property
    def detail(self) -> str:
        """The transport's description, for people."""

    @property
    def status(self) -> int | None:
        """The answer's status, where there was one."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The answer's headers."""

    @property
    def body(self) -> bytes:
        """The part of the answer's body that was kept."""

@final
class SessionFailure:
    """Why a session failed."""

    @property
    def diagnosis(self) -> Diagnosis | None:
        """The failure, judged; None where no leg could be opened: the driver has that error."""

    @property
    def resumable(self) -> bool:
        """Whether everything that another leg needs is still there."""

    @property
    def attempts(self) -> int: ...
    @property
    def elapsed(self) -> float:
        """Seconds from the first failure after progress."""

    @property
    def unacknowledged_bytes(self) -> int: ...
    @property
    def unacknowledged_seconds(self) -> float:
        """0 where the audio's rate is unknown."""

    @property
    def endpoint(self) -> int:
        """The endpoint that failed last, or that the last leg was opened at."""

    @property
    def endpoints(self) -> list[tuple[int, str]]:
        """The endpoints that have failed since the last progress, with the reasons' names."""

@disjoint_base
class Step:
    """What the driver does next."""

    @final
    class Open(Step):
        """Open a leg, then `attach` it or say `open_failed`."""

        __match_args__ = ("standby", "renew", "failures")
        def __new__(cls, standby: bool, renew: bool, failures: int) -> Step.Open: ...
        @property
        def standby(self) -> bool: ...
        @property
        def renew(self) -> bool:
            """The keys ran out in mid-stream: fresh ones have to be looked up."""

        @property
        def failures(self) -> int:
            """Failures in a row without progress."""

    @final
    class Wait(Step):
        """Wait for this time, in seconds, or until woken; None: until woken."""

        __match_args__ = ("seconds",)
        def __new__(cls, seconds: float | None) -> Step.Wait: ...
        @property
        def seconds(self) -> float | None: ...

    @final
    class Finished(Step):
        """The session is over, in order."""

        __match_args__ = ()
        def __new__(cls) -> Step.Finished: ...

    @final
    class Failed(Step):
        """The session is over, and why."""

        __match_args__ = ("failure",)
        def __new__(cls, failure: SessionFailure) -> Step.Failed: ...
        @property
        def failure(self) -> SessionFailure: ...

@final
class Session:
    """One conversation, over any number of legs."""

    def __new__(
        cls,
        path: str,
        query: str,
        config: SageMakerConfig,
        *,
        seed: int,
        waker: Waker,
        token: int,
        endpoints: Sequence[int] = ...,
        carried: bool = False,
    ) -> Session:
        """Make a session.

        With `carried` its messages do not pass through Python: see `GatewayRequest.accept`.
        """

    def send(self, data: str | bytes | bytearray | memoryview) -> int:
        """Accept a message; return a `SendResult`.

        After `FULL` the waiter is woken when it is worth another try.

        Raises:
            TypeError: `data` is something else.
        """

    def receive(self) -> str | bytes | None:
        """Return the next message; None: there is none yet, and a wake-up follows."""

    def finish(self) -> None:
        """End the application's input."""

    def abort(self) -> None:
        """End everything now: legs are reset, nothing more is sent or received."""

    def step(self) -> Step:
        """Return what the driver does next."""

    def endpoints(self) -> list[Literal["untried", "failed", "barred"]]:
        """Return how each endpoint stands in this round."""

    def needs_leg(self) -> bool:
        """Return whether the session has no leg until the one that is being opened is up."""

    def opening_at(self, endpoint: int) -> None:
        """Say at which endpoint the driver opens the leg that was asked for."""

    def end_round(self) -> bool:
        """End the round instead of opening the leg that was asked for.

        Returns:
            Whether another round follows. Otherwise what is left has to be tried now.
        """

    def postpone(self, by: float) -> bool:
        """Open the standby later, by this time in seconds; False: it cannot wait."""

    def attach(self, leg: Leg) -> int:
        """Hand over the leg that the driver opened; its pump starts. Return the leg's number."""

    def open_failed(self, reason: str) -> None:
        """Report that the leg could not be opened."""

    def stats(self) -> dict[str, Any]:
        """Return the session's figures, by the names of `Stats`.

        `legs_at` has a number for each endpoint, in their order.
        """

    def shares(self) -> tuple[int, list[dict[str, Any]]]:
        """Return the endpoint where the session is, and the figures of each endpoint.

        They add up to the session's. `time_to_first_result` and `last_error` are the session's
        alone.
        """

    def take_happened(self) -> int:
        """Return what happened since the last call, as bits of `Interest`."""

    def take_notices(self) -> list[tuple[str, dict[str, Any], float]]:
        """Return what has happened since the last call.

        Returns:
            Each as the name of its event's class, the fields that the native side knows, with the
            level, and how many seconds ago it was.
        """

@final
class Gateway:
    """A WebSocket server in front of sessions.

    The token is posted when there is something to take.

    Raises:
        OSError: The address can't be listened on.
        ValueError: The certificate can't be used.
    """

    def __new__(
        cls,
        *,
        host: str,
        port: int,
        waker: Waker,
        token: int,
        pages: Sequence[str],
        open_pages: Sequence[str],
        keys: Sequence[tuple[str, str, int | None]],
        origins: Sequence[str] | None,
        max_connections: int,
        reuse_port: bool,
        certificate: bytes | None,
        private_key: bytes | None,
        head_timeout: float,
        answer_timeout: float,
        ping_interval: float,
        ping_timeout: float,
        close_timeout: float,
        max_message_bytes: int,
    ) -> Gateway: ...
    @property
    def address(self) -> tuple[str, int]:
        """The address and port that it listens on."""

    def take(self) -> list[GatewayRequest | GatewayRefusal | GatewayEnd | None]:
        """Return what has happened since the last call, oldest first.

        Returns:
            A `None` is the last of all: every connection is closed.
        """

    def counts(self) -> dict[str, int]:
        """Return every figure by name."""

    def drain(self) -> None:
        """Accept no more connections; those that are up go on."""

    def stop(self) -> None:
        """Close everything now."""

@final
class GatewayRequest:
    """A request for a conversation or a page, which waits for an answer."""

    @property
    def id(self) -> str:
        """A UUID, which the client has as `dg-request-id`."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str:
        """The path, as it came."""

    @property
    def query(self) -> str:
        """The query, as it came; empty if there was none."""

    @property
    def peer(self) -> str:
        """The client's address and port."""

    @property
    def key(self) -> str | None:
        """The name of the client's key; None: there are no keys, or none is asked for."""

    @property
    def route(self) -> str | None:
        """The product's path, such as `v1/listen`; None for a page."""

    @property
    def user_agent(self) -> str | None: ...
    @property
    def body(self) -> bytes:
        """The body of a request for a page, at most 64 KiB."""

    def respond(self, status: int, content_type: str, body: bytes) -> bool:
        """Answer with a page; False: nobody waits for it any more."""

    def refuse(self, status: int, code: str, message: str) -> bool:
        """Refuse; False: nobody waits for it any more.

        Raises:
            ValueError: `status` is no error's.
        """

    def accept(self, session: Session) -> bool:
        """Make it a WebSocket over a session; False: nobody waits for it any more.

        Raises:
            ValueError: The session was not made with `carried`.
        """

    def end(self, code: int, reason: str) -> None:
        """Say how to close the WebSocket once everything is sent; only the first word counts."""

@final
class GatewayEnd:
    """The end of a conversation: once for each request for one."""

    @property
    def id(self) -> str: ...
    @property
    def code(self) -> int | None:
        """The close code, or the status of the refusal; None: there was neither."""

    @property
    def by(self) -> Literal["client", "gateway", "lost", "refused"]:
        """Who ended it. `lost`: the connection broke, or the client no longer answered."""

    @property
    def messages_in(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def messages_out(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def seconds(self) -> float:
        """Seconds since the request."""

@final
class GatewayRefusal:
    """A request that was refused without asking: its key, its limit, its form."""

    @property
    def id(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def route(self) -> str | None: ...
    @property
    def key(self) -> str | None: ...
    @property
    def peer(self) -> str: ...
    @property
    def user_agent(self) -> str | None: ...
    @property
    def status(self) -> int: ...
    @property
    def code(self) -> str: ...

@final
class LocalServer:
    """A running local endpoint.

    Raises:
        ValueError: The settings make no sense.
        OSError: The address can't be listened on.
    """

    def __new__(cls, settings: str, waker: Waker, token: int) -> LocalServer: ...
    @property
    def port(self) -> int:
        """The port that it listens on."""

    @property
    def ca_pem(self) -> str:
        """The certificate of its authority, PEM."""

    def news(self) -> tuple[list[LocalStream], list[int], list[tuple[int, str]]]:
        """Return accepted streams, changed legs, and refused legs with the container's reasons.

        All since the last call.
        """

    def counters(self) -> dict[str, int]:
        """Every counter by name."""

    def legs(self) -> list[dict[str, Any]]:
        """Return the facts of every leg. Times are seconds since the server's start."""

    def elapsed(self) -> float:
        """Return the seconds since the server's start."""

    def set_credentials(self, credentials: str) -> None:
        """Replace the identities that are accepted."""

    def outage(self, seconds: float) -> None:
        """Reset all connections and refuse new ones for `seconds`."""

    def stop(self) -> None:
        """Stop the server and wait for its thread."""

@final
class LocalStream:
    """One accepted stream, for a model in Python. Nothing here waits."""

    @property
    def leg(self) -> int:
        """The leg's number."""

    @property
    def path(self) -> str:
        """The invocation's path."""

    @property
    def query(self) -> list[tuple[str, str]]:
        """The invocation's query, decoded."""

    def receive(self) -> str | bytes | None:
        """Return the next message; None: none yet. `EOFError` after the last."""

    def send_text(self, message: str) -> bool:
        """Send text; False: no room yet. `ConnectionError` once the stream has ended."""

    def send_bytes(self, message: bytes) -> bool:
        """Send bytes; False: no room yet. `ConnectionError` once the stream has ended."""

    @property
    def is_gone(self) -> bool:
        """Whether the leg has ended."""

    def close(self) -> None:
        """End the response."""

    def fail(self, code: str, message: str) -> None:
        """End the response with a `ModelStreamError`."""

@final
class Diagnosis:
    """A failure, judged, with the peer's text in quotable form.

    Each text is one printable line of at most 300 characters, without secrets.
    """

    @property
    def reason(self) -> str:
        """The reason's name: one of `reasons()`."""

    @property
    def said(self) -> str:
        """The text of the peer or of the transport; empty if there is none."""

    @property
    def is_quote(self) -> bool:
        """Whether `said` is the peer's text, not the transport's."""

    @property
    def status(self) -> int | None:
        """The status of an HTTP answer."""

    @property
    def h2_code(self) -> int | None:
        """The HTTP/2 error code of a reset or a GOAWAY."""

    @property
    def code(self) -> str | None: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def model_status(self) -> int | None: ...
    @property
    def model_code(self) -> str | None: ...
    @property
    def model_message(self) -> str | None: ...
    @property
    def log_stream(self) -> str | None: ...

def quote(said: str) -> str:
    """Return a peer's text as one printable line of at most 300 characters, without secrets."""

def judge(
    kind: str,
    *,
    detail: str = "",
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    code: str | None = None,
    message: str | None = None,
    h2_code: int | None = None,
    silent: bool = False,
    closing: bool = False,
) -> Diagnosis:
    """Judge a failure by its observed facts.

    What the native side has seen has its diagnosis already. This is for what Python finds out, and
    for tests of the words that each diagnosis gets.

    Args:
        kind: `http_status`; in an open stream `model_stream_error`, `internal_stream_failure`,
            `exception`, `early_end`, `reset`, `goaway`; or the name of a reason.
        detail: What the transport has to say of it, for people; no payload.
        status: The HTTP status, where there was an answer.
        headers: The answer's headers, by lower-case name.
        body: The part of the answer's body that was kept.
        code: The code of an in-band error: a container's close code or an exception's name.
        message: The message of an in-band error.
        h2_code: The HTTP/2 error code of a RST_STREAM or GOAWAY.
        silent: Whether the application had sent nothing for as long as the container waits.
        closing: Whether the closing message was sent, or the application has closed.
    """

def notices() -> dict[str, list[str]]:
    """Return the classes of events that the native side reports, each with the fields it sets."""

def reasons() -> dict[str, int | None]:
    """Return every reason by name: retries that it is worth without progress.

    None: as many as the settings allow.
    """

def whose() -> dict[str, Literal["everywhere", "keys", "endpoint", "load", "leg"]]:
    """Return every reason by name: whose failure it is."""

def watermark(number: int, size: int, channels: int, width: int) -> bytes:
    """Return a chunk that contains its number. `ValueError`: it does not fit."""
