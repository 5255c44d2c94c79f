"""The matrix for the voice agent: one conversation, and each new leg knows it."""

import asyncio
import json

import pytest
from deepgram.agent.v1.types import AgentV1SendFunctionCallResponse, AgentV1Settings
from deepgram.core.events import EventType
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterChunks,
    AfterNewChunks,
    AfterReplies,
    Fault,
    OnMessage,
    OnNextOpen,
    Reset,
)
from e2e.agents import (
    AGENT,
    AUDIO,
    SIZE,
    TURN,
    Overheard,
    assert_legs_know,
    assert_one_conversation,
    converse,
)
from e2e.matrix import BREAKS, PATTERNS, REFUSALS, impatient, parameters
from e2e.survival import client_of

TURNS = 5
WRITTEN, PROMPTED = {2}, {1, 3}

# An agent is silent while the user does not speak, so silence is not a fault.
FAULTS = (*(name for name in BREAKS if name != "silence"), *REFUSALS)
PLACES = {
    # In a turn of the user's, at its end, and in the silence after it.
    "in-a-turn": AfterNewChunks(TURN + 10),
    "at-its-end": AfterNewChunks(TURN),
    "before-its-end": AfterNewChunks(TURN - 1),
    # Greeting, its announcement and its audio: ten pieces.
    "in-the-greeting": AfterReplies(7),
    "in-an-answer": AfterReplies(20),
    "on-settings": OnMessage("Settings"),
    "on-update": OnMessage("UpdatePrompt"),
    "on-written": OnMessage("InjectUserMessage"),
    "during-rollover": OnNextOpen(),
}
MORE_THAN_ONCE = (AfterNewChunks, AfterReplies, OnNextOpen)


def faults_for(name, pattern, place):
    action, when = BREAKS.get(name, Reset()), PLACES[place]
    refusals = []
    if name in REFUSALS:
        count = 3 if pattern == "thrice" else 1
        refusals = [Fault(REFUSALS[name], legs=2 + leg) for leg in range(count)]
    if pattern == "once" or refusals:
        return [Fault(action, when=when, times=1), *refusals]
    if pattern == "often" and isinstance(when, MORE_THAN_ONCE):
        # A leg lives after the third strike: an agent that always breaks in an answer gives none.
        return [Fault(action, when=when, times=4)]
    if isinstance(when, AfterNewChunks):
        # Three legs without progress: the turn begins on each.
        return [Fault(action, when=AfterChunks(TURN - 5), legs=(1, 3), times=3)]
    return [Fault(action, when=when, times=3)]


@pytest.mark.patience(60)
@pytest.mark.parametrize(
    ("fault", "pattern", "place"), parameters(FAULTS, PATTERNS, PLACES, few=14)
)
async def test_a_conversation_with_an_agent_survives(fault, pattern, place):
    agent = Overheard()
    async with LocalEndpoint(model=agent, faults=faults_for(fault, pattern, place)) as endpoint:
        config = impatient(endpoint, rolls_over=place == "during-rollover")
        talked = await converse(config, TURNS, written=WRITTEN, prompted=PROMPTED)
        assert_one_conversation(talked, TURNS, WRITTEN)
        assert_legs_know(agent, talked, len(PROMPTED))
        assert endpoint.stats.faults > 0
        assert endpoint.stats.signature_failures == 0


class Calling:
    """An agent that has a function called for each turn, and breaks in the first one.

    A turn is a fixed number of audio messages. The agent asks if it was given no answer; its second
    stream asks again in any case, as a language model may.
    """

    def __init__(self, *, breaks_on_response):
        self.breaks_on_response = breaks_on_response
        self.received = []
        self.settled = asyncio.Event()

    async def __call__(self, stream):
        texts, heard, number = [], 0, len(self.received)
        self.received.append(texts)

        async def say(kind, **fields):
            await stream.send(json.dumps({"type": kind} | fields))

        await say("Welcome", request_id=str(number))
        async for message in stream:
            if isinstance(message, bytes):
                heard += 1
                if heard == TURN:
                    await say("UserStartedSpeaking")
                    await say("ConversationText", role="user", content=f"turn {number}")
                    await say("FunctionCallRequest", functions=[call(f"call-{number}")])
                    if number == 0 and not self.breaks_on_response:
                        await stream.fail("1011", "broken")
                        return
                continue
            texts.append(json.loads(message))
            if texts[-1]["type"] == "Settings":
                await say("SettingsApplied")
                if number:
                    self.settled.set()
            elif texts[-1]["type"] == "FunctionCallResponse":
                if number == 0:
                    await stream.fail("1011", "broken")
                    return
                content = texts[-1]["content"]
                await say("ConversationText", role="assistant", content=f"It is {content}.")
                await say("AgentAudioDone")


def call(name):
    return {"id": name, "name": "weather", "arguments": '{"city":"Ulm"}', "client_side": True}


@pytest.mark.patience(30)
@pytest.mark.parametrize("responds", ["before", "after", "late", "never"])
async def test_a_function_is_not_called_twice(responds):
    agent = Calling(breaks_on_response=responds == "before")
    messages, errors, calls = [], [], []
    async with LocalEndpoint(model=agent) as endpoint:
        client, _ = client_of(impatient(endpoint))
        async with client.agent.v1.connect() as connection:
            connection.on(EventType.MESSAGE, messages.append)
            connection.on(EventType.ERROR, errors.append)
            listening = asyncio.create_task(connection.start_listening())
            await connection.send_settings(
                AgentV1Settings(type="Settings", audio=AUDIO, agent=AGENT)
            )

            async def respond(request):
                if responds == "after":
                    await agent.settled.wait()
                if responds == "late":
                    await agent.settled.wait()
                    await until(lambda: "turn 1" in texts(messages))
                if responds != "never":
                    await connection.send_function_call_response(
                        AgentV1SendFunctionCallResponse(
                            type="FunctionCallResponse",
                            id=request.functions[0].id,
                            name=request.functions[0].name,
                            content="sunny",
                        )
                    )

            async def until(condition):
                async with asyncio.timeout(20):
                    while not condition() and not errors:
                        await connection.send_media(bytes(SIZE))
                        await asyncio.sleep(0.005)

            def asked():
                return [m for m in messages if getattr(m, "type", None) == "FunctionCallRequest"]

            await until(asked)
            calls.append(asyncio.create_task(respond(asked()[0])))
            if responds == "never":
                await until(lambda: "turn 1" in texts(messages))
            else:
                await until(lambda: "It is sunny." in texts(messages))
            await asyncio.gather(*calls)
            await connection._websocket.close()
            await listening
    assert errors == []
    assert [request.functions[0].id for request in asked()] == ["call-0"]
    settings, *rest = agent.received[1]
    history = [{"type": "History", "role": "user", "content": "turn 0"}]
    known = "sunny" if responds == "before" else ""
    history += [{"type": "History", "function_calls": [call("call-0") | {"response": known}]}]
    assert settings["agent"]["context"]["messages"] == history
    responses = [text["id"] for text in rest if text["type"] == "FunctionCallResponse"]
    assert responses == ([] if responds == "never" else ["call-1"]), "what it knows"


def texts(messages):
    return [m.content for m in messages if getattr(m, "type", None) == "ConversationText"]
