"""Talk to a voice agent that can tell the time: a microphone, a loudspeaker, a function call.

    pip install 'deepgram-sagemaker[audio]'
    python agent.py -e my-agent-endpoint

Wear headphones, or the agent hears itself. It falls silent when you speak. Ask "What time is it in
Tokyo?", and it calls `local_time`. Ctrl-C ends the conversation.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from deepgram import AsyncDeepgramClient
from deepgram.agent.v1.socket_client import AsyncV1SocketClient
from deepgram.agent.v1.types import AgentV1SendFunctionCallResponse, AgentV1Settings
from deepgram_sagemaker import SageMakerConfig, SageMakerTransportFactory
from deepgram_sagemaker.errors import SageMakerError

try:
    import sounddevice
except (ImportError, OSError) as error:  # not installed, or PortAudio is missing
    sys.exit(
        f"failed: {error} (pip install 'deepgram-sagemaker[audio]'; on Linux also libportaudio2)"
    )

RATE = 24_000
"""Samples per second, in and out."""
BLOCK = 1_200
"""Samples recorded at a time: 50 ms."""
WAITING = 200
"""Blocks that may wait to be sent: 10 s. Only a long outage makes any wait."""
FUNCTION_SECONDS = 10.0
"""The longest that a function may take: the user waits for the answer."""


class AgentError(Exception):
    """The conversation cannot go on."""


async def local_time(zone: str) -> str:
    """Return the time in an IANA time zone such as `Asia/Tokyo`."""
    return datetime.now(ZoneInfo(zone)).strftime("%A, %H:%M")


FUNCTIONS: dict[str, Callable[..., Awaitable[str]]] = {"local_time": local_time}
"""What the agent may call: functions that may be called twice without harm.

After a broken stream the session answers a repeated call with the known result. A call that looks
new arrives again. So a function that orders or pays must recognise what it has already done.
"""

AGENT = {
    "greeting": "Hello! Ask me for the time anywhere.",
    "listen": {"provider": {"type": "deepgram", "version": "v1", "model": "nova-3"}},
    "think": {
        "provider": {"type": "open_ai", "model": "gpt-4o-mini"},
        "prompt": "You tell people what time it is. Answer in one short sentence.",
        "functions": [
            {
                "name": "local_time",
                "description": "The weekday and time in a time zone.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "zone": {"type": "string", "description": "IANA name, as Asia/Tokyo"}
                    },
                    "required": ["zone"],
                },
            }
        ],
    },
    "speak": {"provider": {"type": "deepgram", "model": "aura-2-thalia-en"}},
}


class Headset:
    """A microphone and a loudspeaker, each with 16-bit samples of one channel.

    Raises:
        AgentError: A device cannot be opened.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heard: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._stopped = False
        self._is_blocked = False
        # The loudspeaker's thread takes what the loop's thread adds.
        self._lock = threading.Lock()
        self._to_play = bytearray()
        form: dict[str, Any] = {"samplerate": RATE, "channels": 1, "dtype": "int16"}
        try:
            self._microphone = sounddevice.RawInputStream(
                **form, blocksize=BLOCK, callback=self._hear
            )
            self._loudspeaker = sounddevice.RawOutputStream(**form, callback=self._play)
        except (sounddevice.PortAudioError, ValueError) as error:
            raise AgentError(f"microphone and loudspeaker cannot be used: {error}") from error

    @contextmanager
    def on(self) -> Iterator[None]:
        """Record and play, until Ctrl-C or the end of the context."""
        # Where the loop cannot handle signals (Windows), Ctrl-C ends the program at once.
        with suppress(NotImplementedError):
            self._loop.add_signal_handler(signal.SIGINT, self.stop)
        try:
            with self._microphone, self._loudspeaker:
                yield
        finally:
            with suppress(NotImplementedError):
                self._loop.remove_signal_handler(signal.SIGINT)

    def stop(self) -> None:
        """End the recording."""
        self._stopped = True
        self._heard.put_nowait(None)

    def play(self, audio: bytes) -> None:
        """Play audio after what is still to be played."""
        with self._lock:
            self._to_play += audio

    def silence(self) -> None:
        """Play nothing of what is still to be played."""
        with self._lock:
            self._to_play.clear()

    async def hear(self) -> bytes | None:
        """Return the next block of the recording; None at its end.

        Raises:
            AgentError: Too much of it waits to be sent.
        """
        block = await self._heard.get()
        if self._is_blocked:
            raise AgentError("the service has taken no audio for too long")
        return block

    def _hear(self, data: object, _frames: int, _time: object, status: object) -> None:
        # Called in a thread of its own. The buffer is used again afterwards, so it is copied.
        block = bytes(data)  # type: ignore[call-overload]
        overflow = bool(getattr(status, "input_overflow", False))
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, block, overflow)

    def _take(self, block: bytes, overflow: bool) -> None:
        if self._stopped:
            return
        if overflow:
            print("a gap in the recording: this computer was too busy", file=sys.stderr)
        if self._heard.qsize() < WAITING:
            self._heard.put_nowait(block)
        else:
            self._is_blocked = True
            self.stop()

    def _play(self, data: Any, _frames: int, _time: object, _status: object) -> None:  # noqa: ANN401 - a buffer of bytes
        with self._lock:
            audio = bytes(self._to_play[: len(data)])
            del self._to_play[: len(data)]
        data[:] = audio.ljust(len(data), b"\0")


async def converse(arguments: argparse.Namespace) -> None:
    """Hold the conversation until the user ends it."""
    config = SageMakerConfig(
        arguments.endpoint_name,
        region=arguments.region,
        # After an error or Ctrl-C nobody waits for the last results.
        close_timeout=1.0,
    )
    factory = SageMakerTransportFactory(config=config)
    # AWS credentials authenticate; the SDK only checks that an API key is given.
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    headset = Headset()
    sound = {"encoding": "linear16", "sample_rate": RATE}
    settings = AgentV1Settings.model_validate(
        {"audio": {"input": sound, "output": sound | {"container": "none"}}, "agent": AGENT}
    )
    async with client.agent.v1.connect() as connection:
        await connection.send_settings(settings)
        listening = asyncio.create_task(listen(connection, headset))
        speaking = asyncio.create_task(speak(connection, headset))
        try:
            with headset.on():
                # The user ends the conversation, or the service does; what fails, raises.
                done, _ = await asyncio.wait(
                    {listening, speaking}, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    await task
        finally:
            listening.cancel()
            speaking.cancel()
            await asyncio.gather(listening, speaking, return_exceptions=True)


async def speak(connection: AsyncV1SocketClient, headset: Headset) -> None:
    """Send what the user says, silence included, until the user ends the conversation."""
    while (block := await headset.hear()) is not None:
        await connection.send_media(block)


async def listen(connection: AsyncV1SocketClient, headset: Headset) -> None:
    """Play and print what the agent says, and call the functions that it asks for."""
    # Calls run beside the conversation: the user may speak meanwhile.
    calls: set[asyncio.Task[None]] = set()
    try:
        async for message in connection:
            if isinstance(message, bytes):
                headset.play(message)
                continue
            match message.type:
                case "SettingsApplied":
                    print("Speak; Ctrl-C ends the conversation.", file=sys.stderr)
                case "UserStartedSpeaking":
                    headset.silence()
                case "ConversationText":
                    print(f"{message.role}: {message.content}", flush=True)
                case "FunctionCallRequest":
                    for function in message.functions:
                        if function.client_side:  # others are the service's to call
                            call = asyncio.create_task(answer(connection, function))
                            calls.add(call)
                            call.add_done_callback(calls.discard)
                case "Warning":
                    print(f"warning: {message.description}", file=sys.stderr)
                case "Error":
                    raise AgentError(f"the service says: {message.description}")
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def answer(connection: AsyncV1SocketClient, function: Any) -> None:  # noqa: ANN401 - the SDK's class has another name in each release
    """Call a function and send what it returns; the agent is told of a failure, too."""
    try:
        called = FUNCTIONS[function.name]
        known = json.loads(function.arguments or "{}")
        content = await asyncio.wait_for(called(**known), FUNCTION_SECONDS)
    except Exception as error:  # noqa: BLE001 - a model made the arguments: anything may be wrong
        content = f"failed: {type(error).__name__}: {error}"
    print(f"({function.name}: {content})", flush=True)
    response = AgentV1SendFunctionCallResponse(id=function.id, name=function.name, content=content)
    with suppress(SageMakerError):  # the session has failed, which `listen` raises
        await connection.send_function_call_response(response)


def main() -> int:
    """Read the command line, hold the conversation, and return the exit code."""
    parser = argparse.ArgumentParser(description="Talk to a voice agent on SageMaker.")
    parser.add_argument(
        "-e",
        "--endpoint-name",
        default=os.environ.get("SAGEMAKER_ENDPOINT_NAME"),
        help="the SageMaker endpoint (default: $SAGEMAKER_ENDPOINT_NAME)",
    )
    parser.add_argument(
        "--region", default="auto", help="its region (default: that of the environment or profile)"
    )
    arguments = parser.parse_args()
    if not arguments.endpoint_name:
        parser.error("give -e ENDPOINT, or set SAGEMAKER_ENDPOINT_NAME")
    try:
        asyncio.run(converse(arguments))
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (SageMakerError, AgentError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
