"""Conversations with a counting agent through the real SDK, and the checks of them."""

import asyncio
import json
from dataclasses import dataclass, field

from deepgram.agent.v1.types import AgentV1InjectUserMessage, AgentV1Settings, AgentV1UpdatePrompt
from deepgram.core.events import EventType
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_agent import WatermarkAgent
from e2e.survival import client_of

TURN = 25
"""Chunks in a turn of the user."""
RATE = 16_000
SIZE = 640
"""Bytes of 20 ms."""
WORD = 0.2
"""Seconds of audio in a word of the agent."""
GREETING = "7000 7001"
WRITTEN = "written"

AUDIO = {
    "input": {"encoding": "linear16", "sample_rate": RATE},
    "output": {"encoding": "linear16", "sample_rate": RATE},
}
AGENT = {
    "greeting": GREETING,
    "listen": {"provider": {"type": "deepgram", "version": "v1", "model": "nova-3"}},
    "think": {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}, "prompt": "Count."},
    "speak": {"provider": {"type": "deepgram", "model": "aura-2-thalia-en"}},
}


def count(history):
    """The agent's answer: the number of user turns that it knows of."""
    return str(8000 + sum(utterance.role == "user" for utterance in history))


class Overheard:
    """A counting agent that keeps the text messages that it was sent, one list a stream."""

    def __init__(self):
        self.texts = []
        self._model = WatermarkAgent(turn=TURN, block=WORD, pace=20.0, reply=count)

    async def __call__(self, stream):
        texts = []
        self.texts.append(texts)
        await self._model(_Tapped(stream, texts))


class _Tapped:
    """A model's stream, overheard."""

    def __init__(self, stream, texts):
        self._stream = stream
        self._texts = texts

    def __getattr__(self, name):
        return getattr(self._stream, name)

    async def __aiter__(self):
        async for message in self._stream:
            if isinstance(message, str):
                self._texts.append(json.loads(message))
            yield message


@dataclass
class Talked:
    """The messages that an application got."""

    messages: list = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    stats: object = None

    def of(self, kind):
        return [m for m in self.messages if not isinstance(m, bytes) and m.type == kind]

    @property
    def texts(self):
        """The utterances, each with its speaker."""
        return [(text.role, text.content) for text in self.of("ConversationText")]

    def said_by(self, role):
        return [content for who, content in self.texts if who == role]


async def converse(config, turns, *, pace=0.002, written=(), prompted=(), talked=None):
    """A user who waits for each answer, at a microphone that never does.

    Args:
        config: where.
        turns: how many turns of the user's.
        pace: seconds between chunks.
        written: the turns that are written, not spoken.
        prompted: the turns before which the prompt is changed.
        talked: collects the messages, for a caller that reads them even if `send` raises; None: a
            new `Talked`.
    """
    talked = Talked() if talked is None else talked
    client, factory = client_of(config)
    async with client.agent.v1.connect() as connection:
        connection.on(EventType.MESSAGE, talked.messages.append)
        connection.on(EventType.ERROR, talked.errors.append)
        listening = asyncio.create_task(connection.start_listening())
        settings = AgentV1Settings(type="Settings", audio=AUDIO, agent=AGENT)
        await connection.send_settings(settings)

        async def silence_until(condition):
            async with asyncio.timeout(100):
                while not condition() and not talked.errors:
                    await connection.send_media(bytes(SIZE))
                    await asyncio.sleep(pace)

        await silence_until(lambda: talked.of("AgentAudioDone"))
        spoken = 0
        for turn in range(turns):
            if turn in prompted:
                prompt = AgentV1UpdatePrompt(type="UpdatePrompt", prompt=f"Count on, {turn}.")
                await connection.send_update_prompt(prompt)
            if turn in written:
                text = AgentV1InjectUserMessage(type="InjectUserMessage", content=WRITTEN)
                await connection.send_inject_user_message(text)
            else:
                for number in range(spoken * TURN, (spoken + 1) * TURN):
                    await connection.send_media(chunk(number, SIZE))
                    await asyncio.sleep(pace)
                spoken += 1
            answer = 2 + turn
            await silence_until(lambda answer=answer: is_done(talked, answer))
        # The SDK's socket has no other way to end.
        await connection._websocket.close()
        await listening
    talked.stats = factory.stats
    return talked


def is_done(talked, utterances):
    """Returns whether the agent has said this number of utterances and is silent."""
    said = talked.said_by("assistant")
    return len(said) >= utterances and len(talked.of("AgentAudioDone")) >= utterances


def user_texts(turns, written):
    """The user's utterance, as text."""
    texts, spoken = [], 0
    for turn in range(turns):
        if turn in written:
            texts.append(WRITTEN)
        else:
            texts.append(" ".join(map(str, range(spoken * TURN, (spoken + 1) * TURN))))
            spoken += 1
    return texts


def assert_one_conversation(talked, turns, written):
    """Each user turn was delivered once and answered once, by an agent that knew the rest."""
    assert talked.errors == []
    assert [message.type for message in talked.messages[:2]] == ["Welcome", "SettingsApplied"]
    assert len(talked.of("Welcome")) == len(talked.of("SettingsApplied")) == 1
    answers = [str(8001 + turn) for turn in range(turns)]
    assert talked.said_by("user") == user_texts(turns, written)
    assert talked.said_by("assistant") == [GREETING, *answers]
    speaks = False
    for message in talked.messages:
        kind = "audio" if isinstance(message, bytes) else message.type
        # Its speech has a beginning and an end, with no audio outside.
        if kind in ("audio", "AgentStartedSpeaking", "AgentAudioDone"):
            assert speaks, kind
            speaks = kind != "AgentAudioDone"
        elif getattr(message, "role", None) == "assistant":
            assert not speaks, message
            speaks = True
    assert not speaks
    assert len(talked.of("UserStartedSpeaking")) == turns - len(written)


def assert_legs_know(overheard, talked, prompts):
    """Each leg begins with Settings and the conversation so far, followed by the updates since."""
    known = 0
    for texts in overheard.texts:
        kinds = [text["type"] for text in texts]
        if not kinds:
            continue
        assert kinds[0] == "Settings"
        assert kinds.count("Settings") == 1
        settings = texts[0]
        assert settings["audio"] == AUDIO
        messages = settings["agent"].get("context", {}).get("messages", [])
        said = [(message["role"], message["content"]) for message in messages]
        # An unanswered user turn is replayed to this leg as audio.
        assert said == talked.texts[: len(said)]
        assert not said or said[-1][0] == "assistant"
        assert len(said) >= known
        known = len(said)
        assert ("greeting" in settings["agent"]) == (("assistant", GREETING) not in said)
    assert len(talked.of("PromptUpdated")) == prompts
