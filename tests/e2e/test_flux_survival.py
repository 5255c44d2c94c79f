"""The matrix for Flux: faults, how often they strike, kinds of audio and of models."""

import pytest
from deepgram.listen.v2.types import ListenV2Configure
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.faults import (
    OnMessage,
    OnNextOpen,
)
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from e2e.flux import TURN, WINDOW, assert_whole, converse
from e2e.matrix import BREAKS, PATTERNS, REFUSALS, faults_on_audio, impatient, parameters
from e2e.survival import AUDIO

# A reset discards the reports on an open turn. Resets are frequent, but most turns still end.
EVERY = 70
# Something is left behind the last turn: an end that comes late needs it.
LONG = 1420
SHORT = 220

MODELS = {
    "prompt": {},
    "late-1": {"late_chunks": 1},
    "late-10": {"late_chunks": 10},
    "untimed": {"word_times": False},
    "eager": {"eager_at": 20},
    # Drawn anew for each stream: a replay may pass an eager end without it.
    "fickle": {"eager_at": 20, "eager_share": 0.5, "seed": 7},
}
PLACES = {
    "after-close": OnMessage("CloseStream"),
    "during-rollover": OnNextOpen(),
    "on-configure": OnMessage("Configure"),
    "on-force": OnMessage("ForceEndTurn"),
}
FAULTS = (*BREAKS, *REFUSALS, *PLACES)
KINDS = [audio.name for audio in AUDIO]


def faults_for(name, pattern):
    return faults_on_audio(name, pattern, every=EVERY, most=LONG, places=PLACES)


def configure(threshold):
    message = ListenV2Configure(thresholds={"eot_threshold": threshold})
    return lambda connection: connection.send_configure(message)


@pytest.mark.patience(60)
@pytest.mark.parametrize(
    ("fault", "pattern", "kind", "model"), parameters(FAULTS, PATTERNS, KINDS, MODELS, few=18)
)
async def test_a_conversation_survives(fault, pattern, kind, model):
    audio = next(audio for audio in AUDIO if audio.name == kind)
    chunks = LONG if pattern == "often" and fault not in PLACES else SHORT
    if fault == "silence" and pattern == "often":
        # Each costs a stall_timeout of real time.
        chunks = 520
    flux = WatermarkFlux(turn=TURN, **MODELS[model])
    query = {"eager_eot_threshold": "0.5"} if "eager_at" in MODELS[model] else {}
    at = {chunks // 3: configure(0.8), chunks // 2: configure(0.9)}
    if fault == "on-force":
        at[chunks // 2 + 10] = lambda connection: connection.send_force_end_turn()
    # A rollover takes some time.
    pace = 0.005 if fault == "during-rollover" else None
    async with LocalEndpoint(model=flux, faults=faults_for(fault, pattern)) as endpoint:
        config = impatient(endpoint, rolls_over=fault == "during-rollover")
        told = await converse(config, audio, chunks, pace=pace, at=at, **query)
        assert_whole(
            told,
            audio,
            chunks,
            turn=None if fault == "on-force" else TURN,
            word_times=flux.word_times,
            # Audio too short for a window may have no result: no window can be expected for it.
            cut_off=WINDOW if fault == "after-close" and pattern == "often" else 0,
        )
        configured = [message.thresholds.eot_threshold for message in told.of("ConfigureSuccess")]
        assert configured == [0.8, 0.9]
        if fault == "on-force":
            assert [end.trigger for end in told.ends].count("manual") == 1
        assert endpoint.stats.faults > 0
        assert endpoint.stats.signature_failures == 0
        assert all("KeepAlive" not in leg.controls for leg in endpoint.legs)
