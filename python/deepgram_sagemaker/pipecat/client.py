"""pipecat's client of a bidirectional stream, over sessions that survive broken streams.

Imports `transport`. Tests: `tests/pipecat/test_client.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from contextlib import suppress
from typing import Any, Final
from weakref import WeakValueDictionary

from aws_sdk_sagemaker_runtime_http2.models import (
    ResponsePayloadPart,
    ResponseStreamEventPayloadPart,
)
from pipecat.services.aws.sagemaker import bidi_client

from deepgram_sagemaker.config import SageMakerConfig, each_endpoint
from deepgram_sagemaker.errors import SageMakerError, SessionClosedError
from deepgram_sagemaker.invocation import Invocation
from deepgram_sagemaker.stats import Stats, add_up
from deepgram_sagemaker.transport import SageMakerTransport, Services

__all__ = ["SageMakerBidiClient", "SageMakerBidiSessionError", "config_of", "services_for"]

_logger = logging.getLogger("deepgram_sagemaker.pipecat")

# Early releases have no such class, and raise a RuntimeError.
_SessionError: Any = getattr(bidi_client, "SageMakerBidiSessionError", RuntimeError)

_FAREWELL: Final = 1.0
"""Seconds at most in which a session is closed whose messages nobody reads any more."""

_CLOSING: Final = frozenset({"CloseStream", "Close"})
"""The types of the messages behind which nothing is sent."""

_LONGEST_CONTROL: Final = 64
"""Characters of a text within which a closing message is looked for."""

# Sessions that run at the same time, and whose configs are equal, share connections and keys.
_shared: WeakValueDictionary[tuple[object, ...], Services] = WeakValueDictionary()


class SageMakerBidiSessionError(SageMakerError, _SessionError):
    """A session could not be started.

    Also pipecat's own class of this name, where its release has one, and otherwise a
    `RuntimeError`. The `__cause__` is the error that the session failed with.

    Args:
        message: What happened, and what to do next if that is known.
        error_id: The service's name for the error, such as `AccessDeniedException`.
        http_status: The HTTP status.
        attempts: How many streams were requested.

    Attributes:
        error_id: The service's name for the error; None: it gave none.
        http_status: The HTTP status; None: there was no answer.
        attempts: How many streams were requested.
    """

    def __init__(
        self,
        message: str,
        *,
        error_id: str | None = None,
        http_status: int | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message, code=error_id, status=http_status, attempts=attempts)
        self.error_id = error_id
        self.http_status = http_status
        self.attempts = attempts

    @classmethod
    def of(cls, error: SageMakerError) -> SageMakerBidiSessionError:
        """Return the error that says the same in pipecat's words."""
        made = cls(
            f"Failed to start SageMaker BiDi session: {error.message}",
            error_id=error.code,
            http_status=error.status,
            attempts=error.attempts,
        )
        made.request_id = error.request_id
        made.reason = error.reason
        made.retryable = error.retryable
        made.retry_limit = error.retry_limit
        made.endpoints = error.endpoints
        return made


class SageMakerBidiClient:
    """A conversation with a model on SageMaker, with the methods of pipecat's client.

    A broken stream is not seen here: the session goes on over another one, and sends again what
    had no result. What is raised has already been retried.

    The service ends a session in which nothing is sent for long. No input is lost then, and the
    next message begins another session. Times in its results count from there.

    Args:
        endpoint_name: The SageMaker endpoint. May be omitted with `config`.
        region: Its AWS region; `us-west-2` if not given. May be omitted with `config`.
        model_invocation_path: What to invoke, such as `v1/listen`.
        model_query_string: The query, such as `model=nova-3`.
        max_connect_attempts: Attempts in a row, in place of the config's `max_retries` plus one.
            With 1 a broken stream is not followed by another one. None: as the config says.
        config: All settings.

    Raises:
        TypeError: There is neither an endpoint's name nor a config, or something of another type.
        ValueError: A value is not allowed, or the config has another endpoint.
    """

    def __init__(
        self,
        endpoint_name: str | None = None,
        region: str | None = None,
        model_invocation_path: str | None = "",
        model_query_string: str | None = "",
        max_connect_attempts: int | None = None,
        *,
        config: SageMakerConfig | None = None,
    ) -> None:
        config = config_of(endpoint_name, region, config)
        self.config = _with_attempts(config, max_connect_attempts)
        self.endpoint_name = self.config.endpoint_name
        self.region = self.config.region
        self.model_invocation_path = model_invocation_path
        self.model_query_string = model_query_string
        self.max_connect_attempts = self.config.max_retries + 1
        self._services = services_for(self.config)
        # The session; None while there is none: not begun, ended by the service, closed.
        self._transport: SageMakerTransport | None = None
        self._is_active = False
        self._input_is_over = False
        self._has_input = False
        self._begun = asyncio.Event()
        self._earlier = Stats()

    @property
    def is_active(self) -> bool:
        """Whether messages can be sent: from `start_session` on, until the session is closed.

        That is while the first stream is still being opened, too: what is sent then is kept.
        """
        return self._is_active

    @property
    def has_input(self) -> bool:
        """Whether anything has been sent."""
        return self._has_input

    @property
    def stats(self) -> Stats:
        """A snapshot of the figures of all sessions of this client."""
        now = [] if self._transport is None else [self._transport.stats]
        return add_up([self._earlier, *now])

    async def start_session(self) -> None:
        """Open the session; does nothing if it is open.

        Transient failures are retried, within `max_retries` and `retry_budget`. After a failure, or
        if the call is cancelled, no session is left.

        Raises:
            SageMakerBidiSessionError: The session cannot be opened.
        """
        if self._is_active:
            return
        self._input_is_over = self._has_input = False
        try:
            await self._begin().open()
        except SageMakerError as error:
            await self._end()
            raise SageMakerBidiSessionError.of(error) from error
        except BaseException:
            await self._end()
            raise

    async def send_data(self, data_bytes: bytes, data_type: str | None = None) -> None:
        """Send one message.

        Args:
            data_bytes: The message.
            data_type: `UTF8`: text. Anything else: audio.

        Raises:
            RuntimeError: The session is not active.
            SageMakerError: The session has failed; `receive_response` raises the same.
        """
        await self._send(data_bytes.decode() if data_type == "UTF8" else data_bytes)

    async def send_audio_chunk(self, audio_bytes: bytes) -> None:
        """Send audio; raises as `send_data` does.

        Args:
            audio_bytes: The audio, in the encoding that the query names.
        """
        await self._send(audio_bytes)

    async def send_text(self, text: str) -> None:
        """Send text; raises as `send_data` does.

        Args:
            text: The text, such as a control message.
        """
        await self._send(text)

    async def send_json(self, data: dict[str, Any]) -> None:
        """Send an object as JSON text; raises as `send_data` does.

        Args:
            data: The message, such as `{"type": "KeepAlive"}`.
        """
        await self._send(json.dumps(data))

    async def receive_response(self) -> ResponseStreamEventPayloadPart | None:
        """Return the next message, once there is one.

        Returns:
            A whole message. Its `value.bytes_` is the payload, `value.data_type` is `UTF8` or
            `BINARY`. None: the session has ended, after the closing message or `close_session`.

        Raises:
            RuntimeError: The session is not active.
            SageMakerError: The session has failed, and is closed. Messages that came before are
                given first.
        """
        if not self._is_active:
            raise _inactive()
        while self._is_active:
            transport = self._transport
            if transport is None:
                if self._input_is_over:
                    break
                self._begun.clear()
                await self._begun.wait()
                continue
            try:
                message = await transport.recv()
            except SageMakerError as error:
                if not (self._is_active and _was_idle(error)):
                    await self._end()
                    raise
                message = None
            if message is not None:
                return _part(message)
            if self._input_is_over:
                break
            self._let_go(transport)
        return None

    async def close_session(self) -> None:
        """Close the session at once; does nothing if it is not active.

        The last results come after the closing message, before `receive_response` returns None.
        What has not been received by now is dropped.
        """
        if self._is_active:
            await self._end()

    async def _send(self, data: str | bytes) -> None:
        if not self._is_active:
            raise _inactive()
        closes = isinstance(data, str) and _closes(data)
        if closes and self._input_is_over:
            return  # said again: a service does so as it disconnects
        if closes and self._transport is None:
            # The service has ended the session, and everything has been answered.
            self._input_is_over = True
            self._begun.set()
            return
        transport = self._transport or self._begin()
        self._input_is_over = self._input_is_over or closes
        self._has_input = True
        try:
            await transport.send(data)
        except SageMakerError as error:
            if self._input_is_over or not (self._is_active and _was_idle(error)):
                raise
            # It ended meanwhile, and nobody has read that yet.
            self._let_go(transport)
            await (self._transport or self._begin()).send(data)

    def _begin(self) -> SageMakerTransport:
        invocation = Invocation(self.model_invocation_path or "", self.model_query_string or "")
        self._transport = SageMakerTransport.of(self._services, invocation)
        self._is_active = True
        self._begun.set()
        return self._transport

    def _let_go(self, transport: SageMakerTransport) -> None:
        """Leave a session that the service has ended in order: the next message begins another."""
        if self._transport is transport:
            _logger.info(
                "session %s: the service has ended it, as nothing was sent; the next message "
                "begins another",
                transport.session_id,
            )
            self._earlier = self.stats
            self._transport = None

    async def _end(self) -> None:
        transport, self._earlier, self._transport = self._transport, self.stats, None
        self._is_active = False
        self._begun.set()
        if transport is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL):
                    await transport.close()


def config_of(
    endpoint_name: str | None, region: str | None, config: SageMakerConfig | None
) -> SageMakerConfig:
    """Return the settings that the arguments stand for.

    Raises:
        TypeError: There is neither an endpoint's name nor a config, or `config` is something else.
        ValueError: A value is not allowed, or the config has another endpoint.
    """
    if config is None:
        if endpoint_name is None:
            raise TypeError("an endpoint is needed: give endpoint_name= (and region=), or config=")
        return SageMakerConfig(endpoint_name, *(() if region is None else (region,)))
    if not isinstance(config, SageMakerConfig):
        raise TypeError(f"config= takes a SageMakerConfig, not {type(config).__name__}")
    for name, given in (("endpoint_name", endpoint_name), ("region", region)):
        if given not in (None, getattr(config, name)):
            raise ValueError(
                f"{name}={given!r} is not that of config=, {getattr(config, name)!r}: give it once"
            )
    return config


def _with_attempts(config: SageMakerConfig, attempts: int | None) -> SageMakerConfig:
    """Return the settings with another number of attempts in a row; None: as they are."""
    if attempts is None:
        return config
    return dataclasses.replace(config, max_retries=max(0, attempts - 1))


def services_for(config: SageMakerConfig) -> Services:
    """Return what sessions with equal settings share for as long as one of them has it."""
    # Neither is part of a config's equality, and both decide how it is used.
    keys = tuple(id(each.boto3_session) for each in each_endpoint(config))
    key = (config, type(config.region), *keys)
    services = _shared.get(key)
    if services is None:
        # Two threads may make two: that costs one more look-up of the keys.
        services = _shared[key] = Services(config)
    return services


def _was_idle(error: SageMakerError) -> bool:
    """Return whether the service ended the session because the application sent nothing."""
    return isinstance(error, SessionClosedError) or error.reason == "silent_application"


def _closes(text: str) -> bool:
    if len(text) > _LONGEST_CONTROL:
        return False
    try:
        message = json.loads(text)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("type") in _CLOSING


def _part(message: str | bytes) -> ResponseStreamEventPayloadPart:
    if isinstance(message, str):
        part = ResponsePayloadPart(bytes_=message.encode(), data_type="UTF8")
    else:
        part = ResponsePayloadPart(bytes_=message, data_type="BINARY")
    return ResponseStreamEventPayloadPart(value=part)


def _inactive() -> RuntimeError:
    return RuntimeError("BiDi session not active")
