"""Counted speech through the real SDK, and the checks of it."""

import asyncio
from dataclasses import dataclass, field

from deepgram.core.events import EventType
from deepgram.speak.v1.types import SpeakV1Text
from deepgram.speak.v2.types import SpeakV2Speak
from deepgram_sagemaker.local.watermark import chunk
from e2e.survival import client_of

BLOCK = 0.1
"""Seconds of audio a word."""


@dataclass(frozen=True)
class Output:
    """The audio that a query asks for."""

    name: str
    query: dict[str, str]
    rate: int
    width: int
    header: int = 0

    def said(self, words):
        """The audio of words, to the byte."""
        size = round(BLOCK * self.rate) * self.width
        return b"".join(chunk(word, size, width=self.width) for word in words)


LINEAR16 = Output("linear16", {"encoding": "linear16", "sample_rate": "24000"}, 24_000, 2)
NARROW = Output("linear16-8k", {"encoding": "linear16", "sample_rate": "8000"}, 8_000, 2)
MULAW = Output("mulaw", {"encoding": "mulaw", "sample_rate": "8000"}, 8_000, 1)
WAV = Output("wav", {"container": "wav"}, 24_000, 2, header=44)
"""Only for v1."""


def script(turns, words=5):
    """Turns of numbered words; no two words are the same."""
    return [list(range(turn * words, (turn + 1) * words)) for turn in range(turns)]


@dataclass
class Said:
    """The messages that an application got."""

    messages: list = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    stats: object = None

    def take(self, message):
        """Audio is kept in one piece where no message came between."""
        if isinstance(message, bytes) and self.messages and isinstance(self.messages[-1], bytes):
            self.messages[-1] += message
        else:
            self.messages.append(message)

    @property
    def kinds(self):
        return [kind(message) for message in self.messages]

    @property
    def audio(self):
        return b"".join(message for message in self.messages if isinstance(message, bytes))

    def of(self, name):
        return [message for message in self.messages if kind(message) == name]


def kind(message):
    return "audio" if isinstance(message, bytes) else message.type


async def speak(
    config, version, turns, *, output=LINEAR16, in_turn=False, act=None, said=None, **query
):
    """Has turns spoken, each from several texts, to the end of the session.

    Args:
        config: where.
        version: 1 or 2: `v1/speak` or `v2/speak`.
        turns: the words of each turn: anything that has a text.
        output: the audio to ask for.
        in_turn: whether each turn waits for the end of the one before; otherwise all are sent at
            once.
        act: awaited before each turn's texts with the connection, the turn's number and what was
            said so far.
        said: collects the audio, for a caller that reads it even if `send` raises; None: a new
            `Said`.
        query: further parameters.
    """
    said = Said() if said is None else said
    ended = asyncio.Condition()
    client, factory = client_of(config)
    further = {"additional_query_parameters": output.query | query}
    model = {} if version == 1 else {"model": "flux-haley-en"}
    clients = {1: client.speak.v1, 2: client.speak.v2}

    async def told(turns):
        end = "Flushed" if version == 1 else "SpeechMetadata"
        async with asyncio.timeout(100), ended:
            await ended.wait_for(lambda: len(said.of(end)) >= turns or said.errors)

    async def take(message):
        said.take(message)
        async with ended:
            ended.notify_all()

    async def fail(error):
        said.errors.append(error)
        async with ended:
            ended.notify_all()

    async with clients[version].connect(request_options=further, **model) as connection:
        connection.on(EventType.MESSAGE, take)
        connection.on(EventType.ERROR, fail)
        listening = asyncio.create_task(connection.start_listening())
        for number, words in enumerate(turns):
            if act is not None:
                await act(connection, number, said)
            for text in texts(words):
                if version == 1:
                    await connection.send_text(SpeakV1Text(text=text))
                else:
                    await connection.send_speak(SpeakV2Speak(text=text))
            await connection.send_flush()
            if in_turn:
                await told(1 + number)
        await connection.send_close()
        await listening
    said.stats = factory.stats
    return said


def texts(words):
    """A turn's text in pieces, the first of which ends within a word where that has two digits."""
    text = " ".join(map(str, words))
    cut = len(str(words[0])) + 2
    return [piece for piece in (text[:cut], text[cut:]) if piece]


def assert_aura(said, turns, output):
    """Each turn's audio to the byte, before its own Flushed, and these numbered from 0."""
    assert said.errors == []
    assert said.kinds[0] == "Metadata"
    assert said.kinds[1:] == ["audio", "Flushed"] * len(turns)
    assert [message.sequence_id for message in said.of("Flushed")] == list(range(len(turns)))
    spoken = said.of("audio")
    assert spoken[0][: output.header].startswith(b"RIFF" if output.header else b"")
    spoken[0] = spoken[0][output.header :]
    assert spoken == [output.said(words) for words in turns]


def assert_flux(said, turns, output, *, flushed="early", may_break=False):
    """Each turn's audio to the byte, under one id, and totals that are those of the session.

    `may_break`: whether the last leg may break behind the last turn, before SessionMetadata.
    """
    assert said.errors == []
    assert said.kinds[0] == "Connected"
    assert said.kinds.count("Connected") == 1
    totals = said.of("SessionMetadata")
    assert len(totals) == 1 or (may_break and totals == [])
    assert said.messages[-1:] == totals or totals == []
    started, ended = said.of("SpeechStarted"), said.of("SpeechMetadata")
    ids = [message.speech_id for message in started]
    assert len(set(ids)) == len(ids) == len(turns)
    assert [message.speech_id for message in ended] == ids
    expected = ids if flushed != "never" else []
    assert [message.speech_id for message in said.of("Flushed")] == expected
    spoken = b""
    audio = []
    for message in said.messages:
        match kind(message):
            case "audio":
                spoken += message
            case "SpeechStarted":
                assert spoken == b""
            case "SpeechMetadata":
                audio.append(spoken)
                spoken = b""
    assert audio == [output.said(words) for words in turns]
    assert spoken == b""
    milliseconds = [round(BLOCK * 1000) * len(words) for words in turns]
    characters = [len(" ".join(map(str, words))) for words in turns]
    assert [message.audio_duration_ms for message in ended] == milliseconds
    assert [message.input_character_count for message in ended] == characters
    for total in totals:
        assert total.total_audio_duration_ms == sum(milliseconds)
        assert total.total_input_character_count == sum(characters)
