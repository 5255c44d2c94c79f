"""Answer a caller with livekit-agents through the gateway, from a file into a file.

    pip install livekit-agents livekit-plugins-deepgram
    deepgram-sagemaker gateway --route v2/listen=my-flux --route v1/speak=my-aura
    python livekit_bot.py -o answers.wav call.wav

The bot repeats each turn of the caller, without a LiveKit server. Nothing in it knows of SageMaker:
livekit's plug-ins for Deepgram, Flux to hear and Aura to speak, are given the gateway's address. In
an agent of your own the two plug-ins go into `AgentSession(stt=..., tts=...)`. The gateway's log
says why a conversation failed. After a failure the file that was there before is still there.
"""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

try:
    import aiohttp
    from livekit import rtc
    from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError
    from livekit.agents.stt import RecognizeStream, SpeechEventType
    from livekit.plugins import deepgram
except ImportError as error:
    sys.exit(f"failed: {error}: pip install livekit-agents livekit-plugins-deepgram")

SPOKEN = 24_000
"""Samples per second of the answers."""

# A broken stream is the gateway's business, and is not noticed here. After an error the plug-in
# would begin another conversation by itself, without the audio that it has already sent.
HEARING = APIConnectOptions(max_retry=0)
# The most seconds between two messages: as long as a gateway tries to repair a stream, and more.
SPEAKING = APIConnectOptions(timeout=40)


class CallError(Exception):
    """The call could not be answered, or not to its end."""


class Connection(aiohttp.ClientWebSocketResponse):
    """A connection to the gateway that raises an error when it ends with a failure.

    After the end of the audio the plug-in takes any end for the last result.
    """

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:  # noqa: ASYNC109
        """Return the next message."""
        message = await super().receive(timeout)
        if message.type is aiohttp.WSMsgType.CLOSE and message.data != aiohttp.WSCloseCode.OK:
            raise APIStatusError(message.extra or "no reason", status_code=message.data)
        if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
            raise APIConnectionError("the connection to the gateway was lost")
        return message


def answer_file(arguments: argparse.Namespace) -> float:
    """Answer the call in a file, write the answers, and return their length in seconds."""
    path = Path(arguments.output)
    with wave.open(arguments.call, "rb") as call:
        if call.getnchannels() != 1 or call.getsampwidth() != 2:
            raise CallError(f"{arguments.call} must have one channel of 16-bit samples")
        # Beside the file, so that it can take its place in one step.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".answers-") as folder:
            unfinished = Path(folder, "answers.wav")
            with closing(wave.open(str(unfinished), "wb")) as answers:
                answers.setnchannels(1)
                answers.setsampwidth(2)
                answers.setframerate(SPOKEN)
                asyncio.run(hold(arguments, call, answers))
                frames = answers.getnframes()
            if not frames:
                raise CallError("nobody said anything")
            unfinished.replace(path)
    return frames / SPOKEN


async def hold(
    arguments: argparse.Namespace, call: wave.Wave_read, answers: wave.Wave_write
) -> None:
    """Hold the call."""
    gateway, key = arguments.gateway.rstrip("/"), arguments.key
    async with aiohttp.ClientSession(ws_response_class=Connection) as http:
        hears = deepgram.STTv2(
            api_key=key,
            base_url=f"{gateway}/v2/listen",
            sample_rate=call.getframerate(),
            http_session=http,
        )
        speaks = deepgram.TTS(
            api_key=key,
            base_url=f"{gateway}/v1/speak",
            model="aura-2-thalia-en",
            sample_rate=SPOKEN,
            http_session=http,
        )
        async with speaks, hears.stream(conn_options=HEARING) as caller:
            talking = asyncio.create_task(talk(call, caller))
            try:
                async for turn in turns(caller):
                    print(f"caller: {turn}", flush=True)
                    await answer(f"You said: {turn}", speaks, answers)
                await talking
            finally:
                talking.cancel()
                await asyncio.gather(talking, return_exceptions=True)


async def talk(call: wave.Wave_read, caller: RecognizeStream) -> None:
    """Let the caller be heard, at the file's own pace."""
    rate, start = call.getframerate(), time.monotonic()
    try:
        while chunk := call.readframes(rate // 50):  # 20 ms
            caller.push_frame(rtc.AudioFrame(chunk, rate, 1, len(chunk) // 2))
            # Counted from the start, so that late wake-ups do not add up.
            await asyncio.sleep(start + call.tell() / rate - time.monotonic())
    finally:
        caller.end_input()


async def turns(caller: RecognizeStream) -> AsyncIterator[str]:
    """Yield what the caller says, turn by turn."""
    unfinished = ""
    async for event in caller:
        match event.type:
            case SpeechEventType.INTERIM_TRANSCRIPT | SpeechEventType.PREFLIGHT_TRANSCRIPT:
                unfinished = event.alternatives[0].text
            case SpeechEventType.FINAL_TRANSCRIPT:
                unfinished = ""
                yield event.alternatives[0].text
    if unfinished:  # the call ended before the turn did
        yield unfinished


async def answer(text: str, speaks: deepgram.TTS, answers: wave.Wave_write) -> None:
    """Speak a text."""
    async with speaks.stream(conn_options=SPEAKING) as speech:
        speech.push_text(text)
        speech.end_input()
        async for audio in speech:
            answers.writeframes(bytes(audio.frame.data))


def main() -> int:
    """Read the command line, answer the call, and return the exit code."""
    parser = argparse.ArgumentParser(description="A bot answers the caller in a file.")
    parser.add_argument("call", metavar="FILE.wav", help="what the caller says")
    parser.add_argument("-o", "--output", required=True, metavar="FILE.wav", help="the answers")
    parser.add_argument(
        "--gateway",
        default="http://127.0.0.1:8080",
        metavar="URL",
        help="where the gateway listens (default: %(default)s)",
    )
    parser.add_argument(
        "--key",
        default=os.environ.get("DEEPGRAM_API_KEY", "unused"),
        help="one of the gateway's keys (default: DEEPGRAM_API_KEY)",
    )
    arguments = parser.parse_args()
    # livekit logs every error with its traceback.
    logging.getLogger("livekit").addHandler(logging.NullHandler())
    try:
        seconds = answer_file(arguments)
    except KeyboardInterrupt:
        return 130  # as the shell says it
    except (APIError, CallError, OSError, EOFError, wave.Error) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.output}: {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
