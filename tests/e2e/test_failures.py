"""Every failure through the real SDK: the right error, after the right number of attempts."""

import statistics
from pathlib import Path

# It imports the AWS SDK, which takes half a second and must not be part of the measurement.
import deepgram_sagemaker.transport  # noqa: F401
import pytest
from deepgram_sagemaker.errors import (
    AuthenticationError,
    EndpointNotFoundError,
    NoCredentialsError,
    RetriesExhaustedError,
    SageMakerError,
    SessionLostError,
    ValidationError,
)
from e2e import failure_rows
from e2e.failure_rows import ROWS, Row, answered, document, run, without_times

PAGE = Path(__file__).parents[2] / "docs" / "failures.md"

AT_ONCE = 1.0
"""Seconds that an error of the first attempt may take: a busy machine's idea of a round trip."""


@pytest.mark.patience(180)
async def test_the_page_of_failures_is_what_happens(request):
    outcomes = [(row, await run(row)) for row in ROWS]
    assert len(outcomes) >= 40
    for row, outcome in outcomes:
        if outcome.error is None:
            continue
        assert isinstance(outcome.error, SageMakerError), row.what
        assert outcome.error.attempts >= 1, row.what
        if not row.by_clock:
            assert outcome.attempts == _deserved(outcome), row.what
        if outcome.attempts == 1 and not outcome.error.retryable:
            assert outcome.took < AT_ONCE, row.what
    page = document(outcomes)
    if request.config.getoption("--write-failures"):
        PAGE.write_text(page)
    assert without_times(page) == without_times(PAGE.read_text())


def _deserved(outcome):
    """Returns the attempts that the table of errors gives to the last failure.

    In an open stream it is the native session that counts them, by a table of its own: here they
    are held against each other.
    """
    error = outcome.error
    if isinstance(error, SessionLostError):
        return 1
    cause = error.__cause__ if isinstance(error, RetriesExhaustedError) else error
    if not cause.retryable:
        return 1
    return outcome.most if cause.retry_limit is None else min(outcome.most, 1 + cause.retry_limit)


@pytest.mark.parametrize(
    ("status", "error_type", "error"),
    [
        (400, "ValidationError", ValidationError),
        (403, "AccessDeniedException", AuthenticationError),
        (404, "", EndpointNotFoundError),
    ],
)
async def test_what_cannot_pass_is_one_attempt_and_one_round_trip(status, error_type, error):
    """In each of ten runs, timed beside an open that is accepted."""
    row = Row("", str(status), answered(status, error_type))
    meeting = Row("", "accepted", failure_rows.meeting())
    refused, longer = [], []
    for _ in range(10):
        accepted = await run(meeting)
        refused.append(await run(row))
        longer.append(refused[-1].took - accepted.took)
    assert [type(each.error) for each in refused] == [error] * 10
    assert {(each.attempts, each.requests) for each in refused} == {(1, 1)}
    assert {(each.error.status, each.error.retryable) for each in refused} == {(status, False)}
    # A whole session is connect, open, and a drain: an open that is refused takes no longer.
    assert statistics.median(longer) <= 0.05


async def test_without_credentials_nothing_connects():
    row = next(row for row in ROWS if row.section == failure_rows.WHO and row.what == "none")
    outcome = await run(row)
    assert type(outcome.error) is NoCredentialsError
    assert (outcome.attempts, outcome.requests) == (1, 0)
