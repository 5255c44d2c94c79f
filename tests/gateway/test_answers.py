"""Errors of sessions as close codes and refusals."""

import pytest
from deepgram_sagemaker.errors import ModelError, RetriesExhaustedError
from deepgram_sagemaker.gateway.answers import ending


def closed_by_model(code, said="bye"):
    error = ModelError("closed", model_code=code, model_message=said)
    exhausted = RetriesExhaustedError("gave up", elapsed=1.0)
    exhausted.__cause__ = error
    return ending(exhausted)


def test_an_end_in_order_is_1000():
    assert ending(None).code == 1000


@pytest.mark.parametrize("code", ["1000", "1001", "1004", "1005", "1006", "1015", "2999", "0", ""])
def test_a_failure_never_looks_like_an_end_in_order(code):
    """Also where the container closed in order, before everything had its results."""
    assert closed_by_model(code).code == 1011


@pytest.mark.parametrize("code", ["1008", "1011", "1013", "4000"])
def test_a_container_s_own_code_is_passed_on(code):
    assert closed_by_model(code) == (int(code), "bye")


def test_deepgram_s_codes_have_deepgram_s_close_codes():
    assert closed_by_model("DATA-0000", "bad audio") == (1008, "DATA-0000: bad audio")
    assert closed_by_model("NET-0001", "NET-0001: silence") == (1011, "NET-0001: silence")
