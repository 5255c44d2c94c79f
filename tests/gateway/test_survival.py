"""Every product through the gateway with Deepgram's own SDK, while streams break behind it.

The rows are a selection of those of `tests/e2e`, and are held to the same checks.
"""

import pytest
from deepgram_sagemaker.gateway import Gateway
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from e2e import agents, flux, survival, test_agent_survival, test_aura_survival, voices
from e2e.matrix import BREAKS, REFUSALS, faults_on_audio, impatient
from e2e.survival import LINEAR16, OGG, STEREO


def through_gateway(config):
    """A gateway: what a conversation is held with."""
    return Gateway(config=config, port=0)


def rows(*some):
    """These breaks, or all of them in a full run."""
    every = ["none", *BREAKS, *REFUSALS]
    return [
        pytest.param(name, marks=[] if name in some else [pytest.mark.full], id=name)
        for name in every
    ]


def on_audio(name, every, most):
    return (
        [] if name == "none" else faults_on_audio(name, "once", every=every, most=most, places={})
    )


@pytest.mark.parametrize("audio", [LINEAR16, STEREO, OGG], ids=lambda audio: audio.name)
@pytest.mark.parametrize("name", rows("reset", "goaway", "model-error"))
async def test_nova(name, audio):
    async with LocalEndpoint(faults=on_audio(name, 60, 200)) as endpoint:
        async with through_gateway(impatient(endpoint)) as gateway:
            heard = await survival.converse(gateway, audio, 200)
        survival.assert_whole(heard, audio, 200)
        assert heard.stats.legs == 1 + (name != "none")


@pytest.mark.parametrize("name", rows("none", "dropped", "throttled-reopen"))
async def test_flux(name):
    model = WatermarkFlux(turn=flux.TURN)
    async with LocalEndpoint(model=model, faults=on_audio(name, 70, 220)) as endpoint:
        async with through_gateway(impatient(endpoint)) as gateway:
            told = await flux.converse(gateway, LINEAR16, 220)
        flux.assert_whole(told, LINEAR16, 220)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", rows("none", "reset", "early-end"))
async def test_speech(name, version):
    faults = [] if name == "none" else test_aura_survival.faults_for(name, "once")
    turns = voices.script(3)
    model = WatermarkAura(block=voices.BLOCK, flushes=1000, pace=30.0)
    async with LocalEndpoint(model=model, faults=faults) as endpoint:
        async with through_gateway(impatient(endpoint)) as gateway:
            said = await voices.speak(gateway, version, turns)
        check = voices.assert_aura if version == 1 else voices.assert_flux
        check(said, turns, voices.LINEAR16)


@pytest.mark.parametrize("name", rows("none", "reset"))
async def test_agent(name):
    faults = [] if name == "none" else test_agent_survival.faults_for(name, "once", "in-a-turn")
    overheard = agents.Overheard()
    async with LocalEndpoint(model=overheard, faults=faults) as endpoint:
        async with through_gateway(impatient(endpoint)) as gateway:
            talked = await agents.converse(gateway, 3, written={1})
        agents.assert_one_conversation(talked, 3, {1})


async def test_a_rollover_is_not_heard():
    async with LocalEndpoint() as endpoint:
        async with through_gateway(impatient(endpoint, rolls_over=True)) as gateway:
            heard = await survival.converse(gateway, LINEAR16, 200, pace=0.005)
        survival.assert_whole(heard, LINEAR16, 200)
        assert heard.stats.rollovers > 0
