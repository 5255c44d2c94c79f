"""The matrix for the voice agent: one conversation, and each new leg knows it."""

import pytest
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
from e2e.agents import TURN, Overheard, assert_legs_know, assert_one_conversation, converse
from e2e.matrix import BREAKS, PATTERNS, REFUSALS, impatient, parameters

TURNS = 5
WRITTEN, PROMPTED = {2}, {1, 3}

# Nothing is heard of an agent while nobody speaks, so a silent one is no fault.
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
        # After its third strike a leg lives: an agent that always breaks in an answer has none.
        return [Fault(action, when=when, times=4)]
    if isinstance(when, AfterNewChunks):
        # Three legs that get nowhere: the turn is begun on each.
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
