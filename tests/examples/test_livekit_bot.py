"""The bot of livekit-agents, with audio whose every chunk and word can be counted."""

import importlib.util
import re
import signal
import wave

import pytest
from cli import gateways
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.gateway import Gateway, Key
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark_aura import number_of, numbers_in
from examples.programs import counted_wav, ended, run, started
from gateway.clients import gateway_to
from sessions import until

HAS_LIVEKIT = importlib.util.find_spec("livekit") is not None

needs_livekit = pytest.mark.skipif(
    not HAS_LIVEKIT,
    reason="livekit is not installed: pip install livekit-agents livekit-plugins-deepgram",
)

BOT = "livekit_bot.py"
KEY = "a-key-of-the-test"


def endpoint(*faults):
    return LocalEndpoint(faults=[parse_fault(rule) for rule in faults])


def reaching(gateway, key=KEY):
    """The options that reach a gateway."""
    return ("--gateway", gateway.url.replace("ws", "http", 1), "--key", key)


@needs_livekit
@pytest.mark.patience(90)
async def test_every_turn_is_answered_over_broken_streams(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=110)
    answers = tmp_path / "answers.wav"
    answers.write_bytes(b"before")
    faults = ("reset after-audio=0.8 path=v2/listen", "reset after-replies=60 path=v1/speak")
    async with endpoint(*faults) as there, gateway_to(there, keys=[Key("bot", KEY)]) as gateway:
        ran = await run(BOT, *reaching(gateway), "-o", answers, call)
        assert there.stats.faults == 2
        assert sum(gateway.stats.resets.values()) == 2
        assert gateway.stats.bytes_lost == 0
        assert {leg.path for leg in there.legs} == {"v2/listen", "v1/speak"}
    assert (ran.status, ran.err) == (0, "")
    turns = [range(50), range(50, 100), range(100, 110)]
    texts = [" ".join(map(str, turn)) for turn in turns]
    # The answers to 110 chunks and six words, of 0.1 s each.
    assert ran.lines == [*(f"caller: {text}" for text in texts), f"{answers}: 11.6 s"]
    with wave.open(str(answers)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 1, 2)
        said = numbers_in(wav.readframes(wav.getnframes()))
    before = [number_of("You"), number_of("said:")]
    assert said == [number for turn in turns for number in (*before, *turn)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["answers.wav", "call.wav"]


@needs_livekit
async def test_a_failure_is_one_line_and_leaves_the_file_that_was_there(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=30)
    answers = tmp_path / "answers.wav"
    answers.write_bytes(b"before")
    rule = "answer status=403 error-type=AccessDeniedException times=9"
    async with endpoint(rule) as there, gateway_to(there) as gateway:
        ran = await run(BOT, *reaching(gateway), "-o", answers, call)
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch("failed: .*status_code=503.*\n", ran.err), ran.err
    assert answers.read_bytes() == b"before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["answers.wav", "call.wav"]


@needs_livekit
async def test_a_failure_after_the_end_of_the_audio_is_one(tmp_path):
    """Of which livekit's plug-in by itself takes no notice."""
    call = counted_wav(tmp_path / "call.wav", chunks=30)
    async with endpoint("go-silent after-audio=0.1") as there:
        config = there.config(stall_timeout=1.0, max_retries=0)
        async with Gateway(config=config, port=0) as gateway:
            ran = await run(BOT, *reaching(gateway), "-o", tmp_path / "answers.wav", call)
        assert there.legs[0].controls == ("CloseStream",)
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch("failed: .*(stalled).*status_code=1011.*\n", ran.err), ran.err


@needs_livekit
async def test_a_wrong_key_is_one_line(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=30)
    async with endpoint() as there, gateway_to(there, keys=[Key("bot", KEY)]) as gateway:
        ran = await run(BOT, *reaching(gateway, "another"), "-o", tmp_path / "answers.wav", call)
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch("failed: .*status_code=401.*\n", ran.err), ran.err


@needs_livekit
async def test_a_gateway_that_is_gone_is_one_line(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=30)
    silent = endpoint("go-silent on-message=CloseStream")
    async with silent as there, gateways.gateway(endpoint=there) as gateway:
        await gateway.up()
        reach = ("--gateway", gateway.url)
        async with started(BOT, *reach, "-o", tmp_path / "answers.wav", call) as bot:
            await until(lambda: there.stats.faults)
            gateway.process.kill()
            ran = await ended(bot)
    assert ran.status == 1
    assert ran.err == "failed: the connection to the gateway was lost\n"


@needs_livekit
async def test_ctrl_c_leaves_no_traceback(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=500)
    async with (
        endpoint() as there,
        gateway_to(there) as gateway,
        started(BOT, *reaching(gateway), "-o", tmp_path / "answers.wav", call) as bot,
    ):
        await until(lambda: there.stats.messages_in > 20)
        bot.send_signal(signal.SIGINT)
        ran = await ended(bot)
    assert (ran.status, ran.err) == (130, "")
    assert [each.name for each in tmp_path.iterdir()] == ["call.wav"]


@needs_livekit
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"\[Errno 2\] No such file or directory: '.*call.wav'"),
        (b"ID3 this is no WAV file at all, whatever its name", "file does not start with RIFF id"),
        ("stereo", ".*call.wav must have one channel of 16-bit samples"),
    ],
    ids=["missing", "no WAV", "stereo"],
)
def test_a_call_that_cannot_be_heard_is_one_line(called, content, said, tmp_path):
    call = tmp_path / "call.wav"
    if content == "stereo":
        counted_wav(call, channels=2)
    elif content is not None:
        call.write_bytes(content)
    ran = called(BOT, "-o", str(tmp_path / "answers.wav"), str(call))
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(f"failed: {said}\n", ran.err), ran.err


@pytest.mark.skipif(HAS_LIVEKIT, reason="livekit is installed here")
def test_without_livekit_it_says_what_to_install(called):
    ran = called(BOT, "-o", "answers.wav", "call.wav")
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch("failed: .*: pip install livekit-agents livekit-.*\n", ran.err), ran.err
