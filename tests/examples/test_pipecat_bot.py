"""The bot of pipecat, with audio whose every chunk and word can be counted."""

import importlib.util
import re
import signal
import wave

import pytest
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.local import LocalEndpoint
from deepgram_sagemaker.local.watermark_aura import number_of, numbers_in
from examples.programs import counted_wav, ended, run, started, variables
from sessions import until

HAS_PIPECAT = importlib.util.find_spec("pipecat.services") is not None

needs_pipecat = pytest.mark.skipif(
    not HAS_PIPECAT, reason="pipecat is not installed: make test-pipecat"
)

BOT = "pipecat_bot.py"
ON_LOCAL = ("--flux", "local", "--aura", "local")


def endpoint(*faults):
    return LocalEndpoint(faults=[parse_fault(rule) for rule in faults])


def errors_of(ran):
    """Standard error without what pipecat writes as it is imported."""
    lines = ran.err.splitlines()
    return [line for line in lines if not re.search(r"\| +INFO +\||^\[nltk_data\]", line)]


@needs_pipecat
@pytest.mark.patience(90)
async def test_every_turn_is_answered_over_broken_streams(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=110)
    answers = tmp_path / "answers.wav"
    answers.write_bytes(b"before")
    # Which product's stream is opened first is chance.
    faults = ("reset after-audio=0.8 path=v2/listen", "reset after-replies=60 path=v1/speak")
    with endpoint(*faults) as there:
        ran = await run(BOT, *ON_LOCAL, "-o", answers, call, environment=variables(there))
        assert there.stats.faults == 2
        assert {leg.path for leg in there.legs} == {"v2/listen", "v1/speak"}
    assert ran.status == 0, ran.err
    turns = [range(50), range(50, 100), range(100, 110)]
    texts = [" ".join(map(str, turn)) for turn in turns]
    # The answers to 110 chunks and six words, of 0.1 s each.
    assert ran.lines == [*(f"caller: {text}" for text in texts), f"{answers}: 11.6 s"]
    assert errors_of(ran) == []
    with wave.open(str(answers)) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (24_000, 1, 2)
        said = numbers_in(wav.readframes(wav.getnframes()))
    before = [number_of("You"), number_of("said:")]
    assert said == [number for turn in turns for number in (*before, *turn)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["answers.wav", "call.wav"]


@needs_pipecat
async def test_a_failure_is_one_line_and_leaves_the_file_that_was_there(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=60)
    answers = tmp_path / "answers.wav"
    answers.write_bytes(b"before")
    with endpoint("answer status=403 error-type=AccessDeniedException times=9") as there:
        ran = await run(BOT, *ON_LOCAL, "-o", answers, call, environment=variables(there))
    assert (ran.status, ran.out) == (1, "")
    (line,) = errors_of(ran)
    assert re.match(r"failed: .*access denied.*HTTP 403, AccessDeniedException", line)
    assert answers.read_bytes() == b"before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["answers.wav", "call.wav"]


@needs_pipecat
async def test_ctrl_c_leaves_no_traceback(tmp_path):
    call = counted_wav(tmp_path / "call.wav", chunks=500)
    answers = tmp_path / "answers.wav"
    with endpoint() as there:
        async with started(
            BOT, *ON_LOCAL, "-o", answers, call, environment=variables(there)
        ) as bot:
            await until(lambda: there.stats.messages_in > 20)
            bot.send_signal(signal.SIGINT)
            ran = await ended(bot)
    assert ran.status == 130
    assert errors_of(ran) == []
    assert [each.name for each in tmp_path.iterdir()] == ["call.wav"]


@needs_pipecat
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
    ran = called(BOT, *ON_LOCAL, "-o", str(tmp_path / "answers.wav"), str(call))
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(f"failed: {said}", errors_of(ran)[-1])


@pytest.mark.skipif(HAS_PIPECAT, reason="pipecat is installed here")
def test_without_pipecat_it_says_what_to_install(called):
    ran = called(BOT, *ON_LOCAL, "-o", "answers.wav", "call.wav")
    assert (ran.status, ran.out) == (1, "")
    assert re.fullmatch(r"failed: .* needs pipecat: pip install 'deepgram-.*'\n", ran.err)
