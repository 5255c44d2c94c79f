"""A voice agent on the local endpoint: counted, spoken, and through the SDK's client."""

import asyncio

import pytest
from deepgram.agent.v1 import types
from deepgram.agent.v1.types import AgentV1Settings
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.speech import SpeechModel
from deepgram_sagemaker.local.speech.voice import ToneVoice
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.local.watermark_agent import WatermarkAgent
from deepgram_sagemaker.local.watermark_aura import number_of, numbers_in
from local.speech.sounds import count_halves, linear16, scene
from local.streams import Pause, Until, serve
from sessions import Heard, client_of, until

PATH = "v1/agent/converse"
AUDIO = {
    "input": {"encoding": "linear16", "sample_rate": 16_000},
    "output": {"encoding": "linear16", "sample_rate": 16_000},
}


def settings(audio=AUDIO, **agent):
    return {"type": "Settings", "audio": audio, "agent": agent}


def chunks(*numbers):
    return [chunk(number, 640) for number in numbers]


def done(count=1):
    return Until(lambda stream: len(stream.of("AgentAudioDone")) >= count)


def count(history):
    """Says how many turns of the user there have been."""
    return str(sum(utterance.role == "user" for utterance in history))


async def converse(*said, **options):
    model = WatermarkAgent(turn=10, reply=count, **options)
    return await serve(model, PATH, said, ends=True)


def is_done(heard):
    return any(getattr(message, "type", "") == "AgentAudioDone" for message in heard.messages)


def said_by(stream, role):
    return [m["content"] for m in stream.of("ConversationText") if m["role"] == role]


async def test_a_turn_of_the_user_s_is_answered():
    stream = await converse(settings(), *chunks(*range(10)), done())
    assert stream.failure is None
    assert stream.kinds == [
        "Welcome",
        "SettingsApplied",
        "UserStartedSpeaking",
        "ConversationText",
        "ConversationText",
        "AgentStartedSpeaking",
        "audio",
        "AgentAudioDone",
    ]
    assert said_by(stream, "user") == ["0 1 2 3 4 5 6 7 8 9"]
    assert said_by(stream, "assistant") == ["1"]
    assert numbers_in(stream.audio) == [1]
    latency = stream.of("AgentStartedSpeaking")[0]
    assert 0 <= latency["tts_latency"] <= latency["total_latency"] < 5


async def test_messages_have_the_sdk_s_fields():
    stream = await converse(
        settings(greeting="hello"),
        done(),
        {"type": "InjectUserMessage", "content": "a"},
        {"type": "InjectAgentMessage", "message": "b"},
        *({"type": f"Update{what}"} for what in ("Prompt", "Speak", "Think", "Listen")),
        {"type": "ForceEndTurn"},
        Until(lambda stream: stream.of("Warning")),
        *chunks(0),
        Until(lambda stream: stream.of("UserStartedSpeaking")),
        {"type": "Settings"},
        Pause(0.05),
    )
    kinds = {message["type"] for message in stream.told}
    assert len(kinds) == 13
    for message in stream.told:
        known = getattr(types, f"AgentV1{message['type']}").model_fields
        required = {name for name, known_field in known.items() if known_field.is_required()}
        assert required <= set(message) <= set(known)


async def test_the_context_is_remembered():
    context = {
        "messages": [
            {"type": "History", "role": "user", "content": "one"},
            {"type": "History", "role": "assistant", "content": "1"},
            {"type": "History", "function_calls": []},
        ]
    }
    stream = await converse(settings(context=context), *chunks(*range(10)), done())
    assert said_by(stream, "assistant") == ["2"]


async def test_a_greeting_comes_first():
    stream = await converse(settings(greeting="7 8"), done())
    assert numbers_in(stream.audio) == [7, 8]
    assert said_by(stream, "assistant") == ["7 8"]


async def test_the_user_silences_the_agent():
    greeting = " ".join(map(str, range(50)))
    speaking = Until(lambda stream: len(stream.audio) > 3_200)
    started = Until(lambda stream: stream.of("UserStartedSpeaking"))
    stream = await converse(
        settings(greeting=greeting), speaking, *chunks(0), started, Pause(0.05), pace=10.0
    )
    assert stream.kinds[-1] == "UserStartedSpeaking"
    assert 0 < len(numbers_in(stream.audio)) < 50
    assert stream.of("AgentAudioDone") == []


async def test_the_application_may_speak_for_the_user():
    stream = await converse(settings(), {"type": "InjectUserMessage", "content": "hi"}, done())
    assert said_by(stream, "user") == ["hi"]
    assert said_by(stream, "assistant") == ["1"]


@pytest.mark.parametrize(
    ("behavior", "refusals", "words"),
    [({}, 1, [1, 2]), ({"behavior": "queue"}, 0, [1, 2, 3]), ({"behavior": "interrupt"}, 0, [3])],
)
async def test_the_application_may_speak_for_the_agent(behavior, refusals, words):
    inject = {"type": "InjectAgentMessage", "message": "3"} | behavior
    stream = await converse(settings(greeting="1 2"), inject, done(len(words) // 3 + 1), pace=10.0)
    assert len(stream.of("InjectionRefused")) == refusals
    assert numbers_in(stream.audio)[-len(words) :] == words


async def test_a_turn_may_be_ended_where_flux_listens():
    flux = {"listen": {"provider": {"type": "deepgram", "version": "v2"}}}
    stream = await converse(settings(**flux), *chunks(0, 1, 2), {"type": "ForceEndTurn"}, done())
    assert said_by(stream, "user") == ["0 1 2"]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([b"\0\0"], "BINARY_MESSAGE_BEFORE_SETTINGS"),
        ([{"type": "KeepAlive"}], "NON_SETTINGS_MESSAGE_BEFORE_SETTINGS"),
        ([settings(), settings()], "SETTINGS_ALREADY_APPLIED"),
        (["what?"], "UNPARSABLE_CLIENT_MESSAGE"),
        ([settings(), {"type": "InjectUserMessage"}], "UNPARSABLE_CLIENT_MESSAGE"),
        ([settings(audio={"output": {"encoding": "mp3"}})], "INVALID_SETTINGS"),
        ([settings(audio={"input": {"sample_rate": "fast"}})], "INVALID_SETTINGS"),
        ([settings(context={"messages": [{"role": "cook"}]})], "INVALID_SETTINGS"),
        ([settings(greeting=7)], "INVALID_SETTINGS"),
    ],
)
async def test_what_is_wrong_is_told_and_ends_the_stream(said, code):
    stream = await serve(WatermarkAgent(), PATH, said)
    assert stream.told[-1]["type"] == "Error"
    assert stream.told[-1]["code"] == code
    assert stream.failure[0] == "1008"


async def test_keep_alive_keeps_a_stream_alive():
    alive = [part for _ in range(4) for part in (Pause(0.15), {"type": "KeepAlive"})]
    model = WatermarkAgent(silence_timeout=0.4)
    stream = await serve(model, PATH, [settings(), *alive, Pause(9)])
    assert stream.told[-1]["code"] == "CLIENT_MESSAGE_TIMEOUT"
    assert stream.failure[0] == "1011"


async def test_an_agent_that_really_listens():
    audio = linear16(scene(-0.5, 1, -1.2))
    pieces = [audio[start : start + 3_200] for start in range(0, len(audio), 3_200)]
    model = SpeechModel(count_halves, voices=ToneVoice)
    stream = await serve(model, PATH, [settings(), *pieces, done()], ends=True)
    assert said_by(stream, "user") == ["Word0, Word1,"]
    assert said_by(stream, "assistant") == ["You said: Word0, Word1,"]
    assert len(stream.audio) > 16_000


async def test_audio_that_is_not_recognised_here_is_refused():
    wrong = AUDIO | {"input": {"encoding": "opus", "sample_rate": 16_000}}
    stream = await serve(SpeechModel(count_halves), PATH, [settings(audio=wrong)])
    assert stream.told[-1]["code"] == "INVALID_SETTINGS"
    assert "opus" in stream.failure[1]


async def test_an_agent_through_the_sdk():
    async with LocalEndpoint(model=WatermarkAgent(turn=10)) as endpoint:
        heard = Heard()
        client = client_of(endpoint.config())
        async with client.agent.v1.connect() as connection:
            heard.attach(connection)
            listening = asyncio.create_task(connection.start_listening())
            body = settings() | {
                "agent": {
                    "think": {"provider": {"type": "open_ai", "model": "gpt-4o-mini"}},
                    "speak": {"provider": {"type": "deepgram", "model": "aura-2-thalia-en"}},
                }
            }
            await connection.send_settings(AgentV1Settings.model_validate(body))
            for piece in chunks(*range(10)):
                await connection.send_media(piece)
            await until(lambda: is_done(heard), within=10)
        await listening
    assert heard.errors == []
    audio = b"".join(message for message in heard.messages if isinstance(message, bytes))
    assert numbers_in(audio) == [number_of(word) for word in ("You", "said:")] + list(range(10))
