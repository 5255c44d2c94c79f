"""AWS credentials from boto3's chain, looked up off the event loop and shared by all sessions.

The chain may read files, run processes and ask metadata servers or STS. All of this blocks, so it
runs in a thread, and sessions wait for it for at most `connection_timeout`.
"""

from __future__ import annotations

import inspect
import os
import re
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ._native import quote
from .discretion import quiet_botocore, without_frames
from .errands import Errand
from .errors import AuthenticationError, CredentialsTimeoutError, NoCredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import SageMakerConfig

__all__ = ["CredentialSource", "Identity"]

_GUIDANCE: Final = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, log in (aws sso login), "
    "give the instance or task a role, or pass boto3_session"
)

_REFRESH_MARGIN: Final = 16 * 60
"""Remaining seconds above which botocore does not refresh; it starts to at 15 minutes."""

_REFRESH_PAUSE: Final = 5.0
"""Seconds for which a forced refresh is not repeated: a burst of refused tokens is one look-up."""

_LEAST_PATIENCE: Final = 1.0
"""Seconds that a look-up always gets. A shorter `connection_timeout` is meant for the network, and
importing botocore in the thread takes time as well."""


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """One set of keys. A leg signs with the same set until its end.

    Attributes:
        access_key_id: The access key's id.
        secret_access_key: The secret access key.
        session_token: The token of temporary keys; None for others.
    """

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"


class CredentialSource:
    """The keys of a factory, for all of its sessions.

    It may be used from several event loops and threads, and also in a forked child. Nothing is
    imported, read or requested before the first look-up, and `os.environ` is never written.

    Args:
        config: The settings. Keys come from `boto3_session` if it is given. Otherwise boto3's
            default session finds them in the environment, the shared files, a
            `credential_process`, SSO, assumed roles, containers or instance metadata.
        clock: A monotonic clock, in seconds.
    """

    def __init__(
        self, config: SageMakerConfig, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._lookup: Errand[Identity] | None = None
        self._lookup_is_forced = False
        self._forced_at: float | None = None

    async def identity(self, *, refresh: bool = False) -> Identity:
        """Return the keys to sign a leg with.

        Keys that need no refresh are returned at once. Otherwise all callers wait for the same
        look-up. Cancelling stops the waiting at once, but cannot interrupt the look-up: the next
        caller gets its result. A look-up that hangs is not started again, so there is one thread,
        however many attempts time out meanwhile.

        Args:
            refresh: The service said that the keys have expired: discard them and look again.
                boto3's default chain starts from the beginning; a `boto3_session` is asked again
                and refreshes by its own rules.

        Raises:
            NoCredentialsError: There are none, or the look-up failed; retryable if it failed
                because of a connection.
            CredentialsTimeoutError: It takes longer than `connection_timeout`, though at least one
                second.
            AuthenticationError: The keys found contain characters that no key has.
        """
        if self._process != os.getpid():
            # A forked child has no look-up thread, and the lock's state is undefined.
            self._reset()
        with self._lock:
            force = refresh and not self._was_just_forced()
            if not force and (known := self._fresh_identity()) is not None:
                return known
            lookup = self._lookup
            if lookup is None or (force and not self._lookup_is_forced):
                lookup = self._begin(forced=force)
        within = max(self._config.connection_timeout, _LEAST_PATIENCE)
        if not await lookup.settled(within):
            raise CredentialsTimeoutError(
                f"looking up AWS credentials takes longer than {within:g} s (connection_timeout, "
                "though at least 1 s): a credential_process, an SSO or STS request, a metadata "
                "server or a file of the profile hangs; the look-up goes on, and the next attempt "
                "waits for it"
            )
        error = lookup.exception()
        if error is not None:
            # Each caller gets a new error, because each adds its own traceback and attempts.
            raise _explained(error) from _showable(error)
        return lookup.result()

    def _fresh_identity(self) -> Identity | None:
        """Return the keys if this needs no look-up and cannot block; None otherwise."""
        credentials = self._credentials
        if credentials is None:
            return None
        import botocore.credentials

        if isinstance(credentials, botocore.credentials.RefreshableCredentials):
            if credentials.refresh_needed() or credentials.refresh_needed(_REFRESH_MARGIN):
                return None
        elif type(credentials) is not botocore.credentials.Credentials:
            # A foreign class of credentials may block when asked.
            return None
        return _frozen(credentials)

    def _was_just_forced(self) -> bool:
        return self._forced_at is not None and self._clock() - self._forced_at < _REFRESH_PAUSE

    def _begin(self, *, forced: bool) -> Errand[Identity]:
        """Start a look-up. The caller holds the lock."""
        credentials = None if forced else self._credentials
        lookup: Errand[Identity] = Errand(
            lambda: self._look_up(lookup, credentials),
            what="looking up AWS credentials",
            thread="deepgram-sagemaker-credentials",
            limit="connection_timeout",
        )
        lookup.start()
        if not lookup.is_over:
            self._lookup = lookup
            self._lookup_is_forced = forced
        return lookup

    def _look_up(self, lookup: Errand[Identity], credentials: Any) -> Identity:  # noqa: ANN401 - botocore's
        """Resolve and read the keys; this runs in a thread and may block."""
        found = None
        try:
            # Imported here for `_explained`, which runs on a loop.
            import botocore.credentials
            import botocore.exceptions  # noqa: F401

            found = self._resolve() if credentials is None else credentials
            with quiet_botocore():
                identity = _frozen(found)
        except BaseException:
            found = None
            raise
        finally:
            self._end(lookup, found)
        return identity

    def _end(self, lookup: Errand[Identity], credentials: Any) -> None:  # noqa: ANN401 - botocore's
        with self._lock:
            # The result of a look-up that a forced one has replaced is discarded.
            if self._lookup is lookup:
                self._lookup = None
                if credentials is not None:
                    self._credentials = credentials
                    if self._lookup_is_forced:
                        self._forced_at = self._clock()

    def _resolve(self) -> Any:  # noqa: ANN401 - botocore's
        session: Any = self._config.boto3_session
        if session is None:
            # Imported in this thread, because it takes a tenth of a second.
            import boto3

            session = boto3.Session()
        with quiet_botocore():
            credentials = session.get_credentials()
        if credentials is None and self._config.boto3_session is not None:
            raise NoCredentialsError(
                "the boto3_session given has no credentials: make it with keys, or with the name "
                "of a profile that has some, or leave it out for boto3's default chain"
            )
        if credentials is None:
            raise NoCredentialsError(f"no AWS credentials were found: {_GUIDANCE}")
        _refuse_foreign(credentials)
        return credentials


def _refuse_foreign(credentials: Any) -> None:  # noqa: ANN401 - anybody's
    """Raise an error if a `boto3_session` returned an object that is not botocore credentials."""
    if inspect.iscoroutine(credentials):
        # It will not be awaited, and Python would warn about that.
        credentials.close()
    ask = getattr(credentials, "get_frozen_credentials", None)
    if not callable(ask) or inspect.iscoroutinefunction(ask):
        raise NoCredentialsError(
            f"the boto3_session's get_credentials() gave a {type(credentials).__name__}, and not "
            "botocore's credentials: give a boto3.Session"
        )


def _frozen(credentials: Any) -> Identity:  # noqa: ANN401 - botocore's
    """Read one consistent set of keys; botocore refreshes them here if necessary."""
    keys = credentials.get_frozen_credentials()
    if not keys.access_key or not keys.secret_key:
        raise NoCredentialsError(f"the AWS credentials found are incomplete: {_GUIDANCE}")
    for name, key in (
        ("access key id", keys.access_key),
        ("secret access key", keys.secret_key),
        ("session token", keys.token or ""),
    ):
        flaw = _flaw(key)
        if flaw is not None:
            raise AuthenticationError(
                f"the AWS {name} found {flaw}, so nothing can be signed with it: look where it "
                "comes from (an environment variable that was read from a file, line break and "
                "all?)"
            )
    return Identity(keys.access_key, keys.secret_key, keys.token or None)


_KEY: Final = re.compile(r"[!-~]*")
"""The characters of keys and tokens, which a request's header can carry."""


def _flaw(key: object) -> str | None:
    """Return what is wrong with a key without repeating the key; None: nothing."""
    if not isinstance(key, str):
        return f"is a {type(key).__name__}, not text"
    if _KEY.fullmatch(key):
        return None
    if key != key.strip():
        where = "at its beginning" if key != key.lstrip() else "at its end"
        what = "a line break" if key.strip("\r\n") != key else "white space"
        return f"has {what} {where}"
    if re.search(r"[\r\n]", key):
        return "has a line break in it"
    if re.search(r"[\0-\x1f\x7f]", key):
        return "has a control character in it"
    return "has white space in it" if " " in key else "has characters in it that are not ASCII"


def _showable(error: BaseException) -> BaseException | None:
    """Return the error as a cause for tracebacks: without its frames, which contain keys.

    None for errors that repeat a process's output, or an answer that may repeat the request.
    """
    from botocore.exceptions import ClientError, CredentialRetrievalError

    if isinstance(error, CredentialRetrievalError | ClientError):
        return None
    return without_frames(error)


def _explained(error: BaseException) -> AuthenticationError:
    if isinstance(error, AuthenticationError):
        return type(error)(error.message)
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConfigParseError,
        CredentialRetrievalError,
        HTTPClientError,
        PartialCredentialsError,
        ProfileNotFound,
    )
    from botocore.exceptions import (
        ConnectionError as UnreachableError,
    )

    what = type(error).__name__
    # The output of a credential process may contain keys.
    if isinstance(error, BotoCoreError | ClientError) and not isinstance(
        error, CredentialRetrievalError
    ):
        what = f"{what}: {quote(str(error))}"
    match error:
        case ConfigParseError():
            # This also happens with keys in the environment, so setting them does not help.
            advice = (
                "mend that file, which botocore and the AWS CLI cannot read either (a section or "
                "a key that is there twice, or text that is not UTF-8, is enough), or have "
                "AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE name another"
            )
        case ProfileNotFound():
            advice = (
                "AWS_PROFILE has to name a profile that there is (aws configure list-profiles), "
                "or must not be set"
            )
        case PartialCredentialsError():
            advice = (
                "give both, or neither where the keys come from elsewhere: a profile, a login "
                "(aws sso login), or a role"
            )
        case _:
            advice = _GUIDANCE
    return NoCredentialsError(
        f"looking up AWS credentials failed ({what}): {advice}",
        retryable=isinstance(error, UnreachableError | HTTPClientError),
    )
