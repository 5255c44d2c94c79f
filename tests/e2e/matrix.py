"""What breaks streams and what refuses the next one: the columns that the matrices share."""

import itertools

import pytest
from deepgram_sagemaker.local.faults import (
    Answer,
    Drop,
    EndEarly,
    GoAway,
    GoSilent,
    InternalStreamFailure,
    ModelStreamError,
    Reset,
)

# What ends a stream in its middle.
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
# What the next open is answered with, after a reset.
REFUSALS = {
    "throttled-reopen": Answer(429, "ThrottlingException"),
    "throttled-400-reopen": Answer(400, "ThrottlingException"),
    "unavailable-reopen": Answer(503, "ServiceUnavailableException"),
    "model-refuses-reopen": Answer(424, "ModelError"),
}
PATTERNS = ("once", "often", "thrice")
"""How often a fault strikes: thrice is three legs in a row that get nowhere."""


def pairwise(rows):
    """Few rows in which every pair of values of any two columns still stands together.

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


def parameters(*columns, few=None):
    """Every combination of the columns' values; a run that is not full has a selection.

    That is every pair of values; or only so few rows, with as many pairs as they can have, and
    every value.
    """
    rows = list(itertools.product(*columns))
    some = set(pairwise(rows)[:few])
    assert [set(values) for values in zip(*some, strict=True)] == [
        set(column) for column in columns
    ]
    return [
        pytest.param(*row, marks=[] if row in some else [pytest.mark.full], id="-".join(row))
        for row in rows
    ]
