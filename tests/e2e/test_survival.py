"""The matrix: faults, how often they strike, and kinds of audio: nothing lost, nothing twice."""

import asyncio

import pytest
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import (
    AfterReplies,
    EndEarly,
    Fault,
    OnMessage,
    OnNextOpen,
)
from deepgram_sagemaker.local.watermark import Watermark
from e2e.matrix import BREAKS, PATTERNS, REFUSALS, faults_on_audio, impatient, parameters
from e2e.survival import AUDIO, LINEAR16, STEREO, assert_whole, converse
from load import Stopwatch
from sessions import until

EVERY = 50
LONG = 2000
SHORT = 200

# Places that only some sessions have.
PLACES = {
    "after-close": OnMessage("CloseStream"),
    "during-finalize": OnMessage("Finalize"),
    "during-rollover": OnNextOpen(),
}

LATENESS = {
    "prompt": {},
    "late-1": {"late_chunks": 1},
    "late-3": {"late_chunks": 3},
    "late-window": {"late_chunks": 10},
    "late-seconds": {"late_seconds": 3.0},
}


def faults_for(name, pattern):
    return faults_on_audio(name, pattern, every=EVERY, most=LONG, places=PLACES)


# Seconds between chunks, where it matters that time passes: a rollover takes some, a clean end
# counts as the end once everything was sent, and a reset throws away the answers on their way, so
# that resets faster than answers, with refused opens between them, are no progress at all; and a
# container's own errors are borne three times without.
PACES = {"during-rollover": 0.005, "early-end": 0.005, "model-error": 0.003}
PACES |= dict.fromkeys(REFUSALS, 0.003)

FAULTS = (*BREAKS, *REFUSALS, *PLACES)
KINDS = [audio.name for audio in AUDIO]


def takes_its_time(fault, pattern, kind, lateness):
    """Two thousand chunks at a limited pace."""
    return pattern == "often" and fault in PACES


@pytest.mark.patience(60)
@pytest.mark.parametrize(
    ("fault", "pattern", "kind", "lateness"),
    parameters(FAULTS, PATTERNS, KINDS, LATENESS, few=18, dear=takes_its_time),
)
async def test_a_session_survives(fault, pattern, kind, lateness):
    audio = next(audio for audio in AUDIO if audio.name == kind)
    chunks = LONG if pattern == "often" else SHORT
    if fault == "silence" and pattern == "often":
        # Each costs a stall_timeout of real time.
        chunks = 500
    if fault == "after-close":
        # The last of them are finalised when the stream is closed, and not before.
        chunks += 5
    skew = 3 if audio is STEREO else 0
    model = Watermark(**LATENESS[lateness], channel_skew=skew)
    async with LocalEndpoint(model=model, faults=faults_for(fault, pattern)) as endpoint:
        config = impatient(
            endpoint,
            rolls_over=fault == "during-rollover",
            # Between two late results there may be more failures than the default allows: each
            # reset strikes before the next result, and may be followed by a refused open.
            max_retries=50 if pattern == "often" else 5,
        )
        heard = await converse(
            config,
            audio,
            chunks,
            interim=lateness != "late-1",
            pace=PACES.get(fault),
            middle=(lambda c: c.send_finalize()) if fault == "during-finalize" else None,
        )
        assert_whole(heard, audio, chunks)
        assert endpoint.stats.faults > 0
        assert endpoint.stats.signature_failures == 0


async def test_what_is_sent_after_an_end_without_loss_opens_a_stream_at_once():
    """The service may end a stream when nothing is open. The session stays for further audio."""
    ended = Fault(EndEarly(), when=AfterReplies(1), legs=1)
    async with LocalEndpoint(faults=[ended]) as endpoint:

        async def wait(factory, sent):
            if sent == 10:
                await until(lambda: endpoint.legs[0].closed is not None)
                # The session has seen it as well, and waits.
                await asyncio.sleep(0.2)
            await asyncio.sleep(0.01)

        watch = Stopwatch()
        heard = await converse(endpoint.config(), LINEAR16, 20, interim=False, wait=wait)
        assert watch.seconds < 5
        assert [leg.end for leg in endpoint.legs] == ["fault", "model"]
    assert_whole(heard, LINEAR16, 20)
    assert sum(heard.stats.resets.values()) == 0
