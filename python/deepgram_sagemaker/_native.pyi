"""The native half: what `rust/python` registers. Not public."""

from pathlib import Path
from typing import Final, final

from .config import SageMakerConfig

__version__: Final[str]

FULL: Final[int]
"""Why a message was not taken: no room now."""
ENDED: Final[int]
"""Why a message was not taken: the session, or its input, has ended."""
READABLE: Final[int]
"""What a session's waiter may wait for: a message, or the end."""
WRITABLE: Final[int]
"""Room for another frame."""
DRIVER: Final[int]
"""Another step for the driver."""

@final
class Waker:
    """The mailbox of one event loop."""

    def __new__(cls) -> Waker: ...
    def fileno(self) -> int:
        """The descriptor to watch for reading."""

    def drain(self) -> list[int]:
        """Every token posted since the last call, oldest first."""

@final
class Pool:
    """Connections to one endpoint, within limits. Times are seconds.

    Raises:
        OSError: The CA bundle cannot be used.
    """

    def __new__(
        cls,
        *,
        host: str,
        port: int,
        ca_bundle: str | Path | None,
        proxy: tuple[str, int, bool, str | None] | None,
        connection_timeout: float,
        connection_acquire_timeout: float,
        subscription_timeout: float,
        max_concurrency: int,
        max_streams_per_connection: int,
        max_handshakes: int,
        ping_after: float,
        ping_within: float,
    ) -> Pool: ...
    def open(
        self,
        authority: str,
        path: str,
        headers: list[tuple[str, str]],
        *,
        with_permit: bool,
        waker: Waker,
        token: int,
    ) -> Opening:
        """Sends a POST and waits, elsewhere, for its response headers; then posts the token."""

@final
class Opening:
    """A stream on its way."""

    def take(self) -> Leg | OpenFailure | None:
        """The outcome, once; None while there is none, and after `cancel`."""

    def cancel(self) -> None:
        """Stops waiting; a stream that was not taken is closed."""

@final
class Leg:
    """A stream that the service has accepted, until a session takes it over."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The response's headers."""

    def begin_chain(self, *, secret_access_key: str, region: str, seed_signature: str) -> None:
        """Begins the chain of event signatures, with the key and signature of the request.

        Raises:
            ValueError: `seed_signature` is not a signature.
        """

@final
class OpenFailure:
    """Why there is no stream, as data: the classifier's input."""

    @property
    def kind(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def h2_code(self) -> int | None: ...
    @property
    def status(self) -> int | None: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def body(self) -> bytes: ...

@final
class SessionFailure:
    """Why a session failed, as data: the classifier's input."""

    @property
    def kind(self) -> str | None:
        """The classifier's name; None when a leg could not be opened: the driver has why."""

    @property
    def detail(self) -> str: ...
    @property
    def code(self) -> str | None: ...
    @property
    def message(self) -> str | None: ...
    @property
    def h2_code(self) -> int | None: ...
    @property
    def silent(self) -> bool:
        """The application had sent nothing for as long as the container waits."""

    @property
    def resumable(self) -> bool:
        """False: what another leg would need is gone, or was never kept."""

    @property
    def attempts(self) -> int: ...
    @property
    def elapsed(self) -> float:
        """Seconds from the first failure after progress."""

    @property
    def unacknowledged_bytes(self) -> int: ...
    @property
    def unacknowledged_seconds(self) -> float:
        """0 where the audio's rate is not known."""

class Step:
    """What the driver does next."""

    @final
    class Open(Step):
        """Open a leg, then `attach` it or say `open_failed`."""

        __match_args__ = ("standby",)
        def __new__(cls, standby: bool) -> Step.Open: ...
        @property
        def standby(self) -> bool: ...

    @final
    class Wait(Step):
        """Nothing, for so many seconds or until woken."""

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
    ) -> Session: ...
    def send(self, data: str | bytes | bytearray | memoryview) -> int:
        """Takes a message of the application: 0; `FULL` or `ENDED` when it was not taken.

        After `FULL` the waiter is woken when it is worth another try.

        Raises:
            TypeError: `data` is something else.
        """

    def receive(self) -> str | bytes | None:
        """The next message for the application. None: not now; woken when there is one."""

    def finish(self) -> None:
        """The application ends its input."""

    def abort(self) -> None:
        """Ends everything now: legs are reset, nothing more is sent or received."""

    def step(self) -> Step:
        """What the driver does next."""

    def attach(self, leg: Leg) -> None:
        """The leg that the driver opened: its pump starts."""

    def open_failed(self, *, retryable: bool, limit: int | None) -> None:
        """The leg that the session wanted could not be opened."""

    def take_happened(self) -> int:
        """What has happened since the last call, as bits: `READABLE`, `WRITABLE`, `DRIVER`."""

    def take_notices(self) -> list[tuple[int, str]]:
        """Lines for the log since the last call: level, as `logging` has them, and text."""
