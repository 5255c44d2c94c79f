"""Ends of streams and refusals of the next one: the columns that the matrices share."""

import itertools

import pytest
from deepgram_sagemaker.local.faults import (
    AfterChunks,
    AfterNewChunks,
    Answer,
    Drop,
    EndEarly,
    Fault,
    GoAway,
    GoSilent,
    InternalStreamFailure,
    ModelStreamError,
    Reset,
)

# Ends in the middle of a stream.
BREAKS = {
    "reset": Reset(),
    "dropped": Drop(),
    "fin": Drop(rst=False),
    "goaway": GoAway(code=0, covers=False),
    "goaway-covering": GoAway(code=0, covers=True),
    "early-end": EndEarly(),
    "model-error": ModelStreamError(),
    "service-failure": InternalStreamFailure(),
    "silence": GoSilent(),
}
# Answers to the next open, after a reset.
REFUSALS = {
    "throttled-reopen": Answer(429, "ThrottlingException"),
    "throttled-400-reopen": Answer(400, "ThrottlingException"),
    "unavailable-reopen": Answer(503, "ServiceUnavailableException"),
    "model-refuses-reopen": Answer(424, "ModelError"),
}
PATTERNS = ("once", "often", "thrice")
"""How often a fault strikes. Three times means three legs in a row without progress."""


def faults_on_audio(name, pattern, *, every, most, places):
    """The faults of a row whose input is counted chunks of audio.

    Args:
        name: A break, a refusal, or one of `places`.
        pattern: One of `PATTERNS`.
        every: Chunks not heard before, after which a stream breaks.
        most: Chunks of the longest session.
        places: When a fault strikes that only some sessions have a place for.
    """
    if name in REFUSALS:
        if pattern == "often":
            # Each reset costs one refused open before the next.
            legs = range(2, 2 * most // every, 2)
            refused = [Fault(REFUSALS[name], legs=leg) for leg in legs]
            return [*refused, Fault(Reset(), when=AfterNewChunks(every), times=None)]
        refusals = 3 if pattern == "thrice" else 1
        refused = Fault(REFUSALS[name], legs=(2, 1 + refusals), times=refusals)
        return [refused, Fault(Reset(), when=AfterChunks(every), legs=1)]
    if name in places:
        action = Reset() if pattern != "often" else EndEarly()
        times = {"once": 1, "thrice": 3, "often": 2}[pattern]
        return [Fault(action, when=places[name], times=times)]
    action = BREAKS[name]
    if pattern == "once":
        return [Fault(action, when=AfterNewChunks(every), times=1)]
    if pattern == "often":
        return [Fault(action, when=AfterNewChunks(every), times=None)]
    return [Fault(action, when=AfterChunks(7), legs=(1, 3), times=3)]


def impatient(endpoint, *, rolls_over=False, **more):
    """Settings with short times."""
    settings = {
        "initial_backoff": 0.01,
        "max_backoff": 0.05,
        "stall_timeout": 0.3,
        "replay_speed": None,
        "max_leg_age": 0.2 if rolls_over else None,
    }
    return endpoint.config(**settings | more)


def pairwise(rows):
    """Selects few rows that contain every pair of values of any two columns.

    Those with values that no other has come first, then those with the most pairs.
    """
    values = {row: set(enumerate(row)) for row in rows}
    pairs = {row: set(itertools.combinations(enumerate(row), 2)) for row in rows}
    unseen, wanted = set().union(*values.values()), set().union(*pairs.values())
    chosen = []
    while wanted:
        row = max(rows, key=lambda row: (len(unseen & values[row]), len(wanted & pairs[row])))
        chosen.append(row)
        unseen -= values[row]
        wanted -= pairs[row]
    return chosen


def parameters(*columns, few=None, dear=lambda *row: False):
    """Every combination of the columns' values; a run that is not full has a selection.

    That is every pair of values; or only so few rows, with as many pairs as they can have, and
    every value; and none that is dear. What is left out is played without sockets, and in many
    more combinations, by the generated sessions of `rust/session/tests`.
    """
    rows = list(itertools.product(*columns))
    some = set(pairwise([row for row in rows if not dear(*row)])[:few])
    assert [set(values) for values in zip(*some, strict=True)] == [
        set(column) for column in columns
    ]
    return [
        pytest.param(*row, marks=[] if row in some else [pytest.mark.full], id="-".join(row))
        for row in rows
    ]
