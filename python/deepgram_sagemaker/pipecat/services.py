"""pipecat's Deepgram services, with the transport's sessions beneath.

pipecat's classes do everything but carry the bytes. They make a client of a stream in a method of
theirs that differs from release to release, so the client is exchanged where they store it.

Imports `client`. Tests: `tests/pipecat/test_services.py`.
"""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pipecat.frames.frames import TranscriptionFrame
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.aws.sagemaker import bidi_client
from pipecat.services.deepgram.flux.sagemaker import stt as flux_stt
from pipecat.services.deepgram.sagemaker import stt as nova_stt
from pipecat.services.deepgram.sagemaker import tts as aura_tts
from pipecat.utils.time import time_now_iso8601

from deepgram_sagemaker.errors import SageMakerError

from .client import SageMakerBidiClient, SageMakerBidiSessionError, config_of, services_for

if TYPE_CHECKING:
    from pipecat.frames.frames import CancelFrame

    from deepgram_sagemaker.config import SageMakerConfig

__all__ = [
    "DeepgramFluxSageMakerSTTService",
    "DeepgramSageMakerSTTService",
    "DeepgramSageMakerTTSService",
    "OverSessions",
]

_RELEASE: Final = metadata.version("pipecat-ai")

# Since 1.8: an error that leaves a service unable to do any more work says so.
_KNOWS_PERMANENT: Final = (
    "force_treat_as_permanent" in inspect.signature(FrameProcessor.push_error).parameters
)

# Releases that end a turn whose session ends do so in a method of this name.
_ENDS_OPEN_TURNS: Final = hasattr(flux_stt.DeepgramFluxSageMakerSTTService, "_end_turn_cut_short")

_CONFIRMATION: Final = 10.5
"""Seconds in which Flux confirms a session; later releases wait 10 s themselves."""
_UNCONFIRMED: Final = "Flux has not confirmed the session"

_TASKS: Final = ("_response_task", "_keepalive_task", "_watchdog_task")
"""Where pipecat's services have the tasks that live as long as their session."""


class OverSessions:
    """What the services have in common: where the client is exchanged, how a session ends.

    Args:
        endpoint_name: The SageMaker endpoint. May be omitted with `config`.
        region: Its AWS region; `us-west-2` if not given. May be omitted with `config`.
        config: All settings.
        options: pipecat's arguments.
    """

    _begins_anew: ClassVar[bool] = False
    """Whether pipecat's service begins another session itself when it has none."""
    _has_results: ClassVar[bool] = True
    """Whether results come behind the closing message."""

    # pipecat's, and not in every release.
    _response_task: asyncio.Task[None] | None
    _connection_task: asyncio.Task[None] | None = None

    def __init__(
        self,
        *,
        endpoint_name: str | None = None,
        region: str | None = None,
        config: SageMakerConfig | None = None,
        **options: Any,  # noqa: ANN401 - pipecat's
    ) -> None:
        self._sagemaker_config = config_of(endpoint_name, region, config)
        # Kept, so that a service that connects again need not look up the keys again.
        self._sagemaker_services = services_for(self._sagemaker_config)
        self._sagemaker_client: object | None = None
        self._is_hurried = False
        super().__init__(  # type: ignore[call-arg]
            endpoint_name=self._sagemaker_config.endpoint_name,
            region=self._sagemaker_config.region,
            **options,
        )

    @property
    def _client(self) -> Any:  # noqa: ANN401 - pipecat's attribute
        return self._sagemaker_client

    @_client.setter
    def _client(self, client: object | None) -> None:
        if isinstance(client, bidi_client.SageMakerBidiClient):
            client = SageMakerBidiClient(
                model_invocation_path=client.model_invocation_path,
                model_query_string=client.model_query_string,
                config=self._sagemaker_config,
            )
        self._sagemaker_client = client

    async def cancel(self, frame: CancelFrame) -> None:
        """Stop at once, without the last results.

        Args:
            frame: The frame that says so.
        """
        self._is_hurried = True
        await super().cancel(frame)  # type: ignore[misc]

    async def push_error(
        self,
        error_msg: str,
        exception: Exception | None = None,
        **options: Any,  # noqa: ANN401 - pipecat's
    ) -> None:
        """Report an error upstream; the end of a session leaves the service without work.

        Args:
            error_msg: What happened.
            exception: The error; of the transport: it has been retried, and the session is over.
            options: pipecat's arguments.
        """
        if _KNOWS_PERMANENT and isinstance(exception, SageMakerError) and not self._begins_anew:
            options.setdefault("force_treat_as_permanent", True)
        await super().push_error(error_msg, exception, **options)  # type: ignore[misc]

    def _classify_error(self, exception: Exception) -> Any:  # noqa: ANN401 - pipecat's
        """Return why the service failed, as pipecat has it; None: by the error's HTTP status."""
        told = exception
        if isinstance(exception, SageMakerError) and not hasattr(exception, "error_id"):
            told = SageMakerBidiSessionError.of(exception)
        category = super()._classify_error(told)  # type: ignore[misc]
        if category is None and told is not exception:
            # Retries that ran out say what they were for.
            category = super()._classify_error(exception.__cause__ or exception)  # type: ignore[misc]
        return category

    async def _disconnect(self) -> None:
        if self._has_results and not self._is_hurried:
            await self._receive_the_rest()
        await super()._disconnect()  # type: ignore[misc]
        # After a failure pipecat takes the client for disconnected, and leaves its tasks alone.
        for name in _TASKS:
            task = getattr(self, name, None)
            if task is not None and not task.done() and task is not asyncio.current_task():
                await self.cancel_task(task)  # type: ignore[attr-defined]
        if isinstance(self._client, SageMakerBidiClient):
            await self._client.close_session()

    async def _receive_the_rest(self) -> None:
        """Say that the audio is over, and wait for its last results.

        pipecat does not wait for them.
        """
        client = self._client
        if not isinstance(client, SageMakerBidiClient) or not client.has_input:
            return
        if self._connection_task is not None:
            # The audio waits for a session that is still being opened, within its own deadlines.
            await asyncio.wait({self._connection_task})
        responses = self._response_task
        if responses is None or responses is asyncio.current_task() or not client.is_active:
            return
        # What fails is raised where the results are received, too, and reported from there.
        with suppress(SageMakerError):
            await client.send_json({"type": "CloseStream"})
        seconds = self._sagemaker_config.close_timeout
        _, late = await asyncio.wait({responses}, timeout=seconds)
        if late:
            await self.push_error(
                f"the results of the last audio did not come within {seconds} s (close_timeout)"
            )


@dataclass
class _SettingsOf13(nova_stt.DeepgramSageMakerSTTSettings):
    """pipecat 1.3 gives its settings a value that they have no field for, and fails."""

    vad_events: bool | None = None


class DeepgramSageMakerSTTService(OverSessions, nova_stt.DeepgramSageMakerSTTService):
    """pipecat's service for Nova on SageMaker: speech to text.

    Args:
        endpoint_name: The SageMaker endpoint. May be omitted with `config`.
        region: Its AWS region; `us-west-2` if not given. May be omitted with `config`.
        config: All settings.
        options: Every other argument of pipecat's service, such as `settings`.

    Raises:
        TypeError: There is neither an endpoint's name nor a config, or something of another type.
        ValueError: A value is not allowed, or the config has another endpoint.
    """

    if _RELEASE.startswith("1.3."):
        Settings = _SettingsOf13


class DeepgramFluxSageMakerSTTService(OverSessions, flux_stt.DeepgramFluxSageMakerSTTService):
    """pipecat's service for Flux on SageMaker: speech to text, in turns.

    Args:
        endpoint_name: The SageMaker endpoint. May be omitted with `config`.
        region: Its AWS region; `us-west-2` if not given. May be omitted with `config`.
        config: All settings.
        options: Every other argument of pipecat's service, such as `settings`.

    Raises:
        TypeError: There is neither an endpoint's name nor a config, or something of another type.
        ValueError: A value is not allowed, or the config has another endpoint.
    """

    _limit: asyncio.Timeout | None = None
    _open_turn: dict[str, Any] | None = None
    """The last message about a turn that has not ended."""

    async def _connect(self) -> None:
        # pipecat waits here for Flux to confirm the session: early releases without end, later ones
        # also when the session has failed meanwhile.
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limit = limit
                try:
                    await super()._connect()
                finally:
                    self._limit = None
        except TimeoutError:
            if self._response_task is None or not self._response_task.done():
                await self.push_error(_UNCONFIRMED)
            # Otherwise the error has been reported from where it was received.
            await self._call_event_handler("on_connection_error", _UNCONFIRMED)

    async def _start_session_within_timeout(self) -> None:
        # The session has its deadlines, and says why it could not be opened.
        await self._client.start_session()

    async def _process_responses(self) -> None:
        """Handle what Flux says; the session has been opened just now."""
        self._let_connect(_CONFIRMATION)
        await super()._process_responses()
        if not (_ENDS_OPEN_TURNS or self._is_hurried):
            await self._end_open_turn()
        if not self._connection_established_event.is_set():
            self._let_connect(0)

    def _let_connect(self, seconds: float) -> None:
        """Limit what is left of `_connect`, if it still waits."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + seconds)

    async def _handle_turn_info(self, data: dict[str, Any]) -> None:
        await super()._handle_turn_info(data)
        self._open_turn = None if data.get("event") == "EndOfTurn" else data

    async def _end_open_turn(self) -> None:
        """Say what was heard in a turn that has no end, as later releases do."""
        turn, self._open_turn = self._open_turn, None
        if turn is not None and turn.get("transcript"):
            language = self._primary_detected_language(turn)
            text, now = turn["transcript"], time_now_iso8601()
            await self.push_frame(TranscriptionFrame(text, self._user_id, now, language))


class DeepgramSageMakerTTSService(OverSessions, aura_tts.DeepgramSageMakerTTSService):
    """pipecat's service for Aura on SageMaker: text to speech.

    Args:
        endpoint_name: The SageMaker endpoint. May be omitted with `config`.
        region: Its AWS region; `us-west-2` if not given. May be omitted with `config`.
        config: All settings.
        options: Every other argument of pipecat's service, such as `settings`.

    Raises:
        TypeError: There is neither an endpoint's name nor a config, or something of another type.
        ValueError: A value is not allowed, or the config has another endpoint.
    """

    _has_results = False
