"""The page of the caption relay in a headless browser, with real speech where that shows more."""

import asyncio
import json
import re
import wave
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.local import LocalEndpoint
from examples.browsers import Page, browser, spoken
from examples.programs import variables
from examples.relays import relay, relay_process
from sessions import until

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

# Much waits for the browser, which has a process for each tab.
pytestmark = pytest.mark.patience(200)

FROM, SECONDS = 0.8, 7.7
MICROSECOND = 1e-6
SAID = (
    "it was the best of times it was the worst of times it was the age of wisdom it was the age of "
    "foolishness"
)


def endpoint(*faults, **options):
    return LocalEndpoint(faults=[parse_fault(rule) for rule in faults], **options)


@pytest.fixture
def speech(tmp_path):
    """The first sentences of the bundled recording."""
    return spoken(tmp_path / "speech.wav", FROM, SECONDS)


@pytest.fixture
def silence(tmp_path):
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as target:
        target.setparams((1, 2, 48_000, 0, "NONE", None))
        target.writeframes(bytes(96_000))
    return path


def heard_until(tab):
    """The end of the last final, in seconds."""
    return max((each["end"] for each in tab.received if each.get("final")), default=0.0)


FANCIED = {"ah", "hm", "oh", "thank", "uh", "um", "you"}
"""Words that this recogniser hears in silence."""


def plain(captions):
    """The words, without those that are heard in the silence before and after."""
    text = " ".join(text for *_, text in captions)
    words = re.sub(r"[^a-z ]", " ", text.lower()).split()
    while words and words[0] in FANCIED:
        del words[0]
    while words and words[-1] in FANCIED:
        del words[-1]
    return " ".join(words)


async def test_captions_are_whole_through_two_resets(speech):
    """Two tabs hear the same; the streams of one are reset twice, which it does not notice."""
    resets = "reset after-new-audio=3.2 times=2"
    async with AsyncExitStack() as stack:
        broken, calm = (
            stack.enter_context(endpoint(*faults, model="speech")) for faults in ((resets,), ())
        )
        (_, one), (_, other) = await asyncio.gather(
            *(stack.enter_async_context(relay_process(variables(it))) for it in (broken, calm))
        )
        program = await stack.enter_async_context(browser(speech))
        tabs = [await Page.open(program, address) for address in (one, other)]
        for tab in tabs:
            await tab.press("Start")
        for tab in tabs:
            # The recogniser is slower than speech on a busy machine.
            await until(lambda tab=tab: heard_until(tab) >= SECONDS - 0.5, within=120)
            await tab.press("Stop")
            await tab.becomes("Ready")
        heard = [await tab.finals() for tab in tabs]
        for tab, captions in zip(tabs, heard, strict=True):
            assert await tab.problem() == ""
            assert tab.errors == []
            # What is not final is replaced by what is.
            interims = [each["text"] for each in tab.received if each.get("final") is False]
            assert any(await tab.shown("interim")) == any(interims)
            assert await tab.page.locator("#interim").text_content() == ""
            assert await tab.page.locator("[role=log]").get_attribute("aria-live") == "polite"
            assert set(await tab.shown("status")) == {
                *("Waiting for the microphone…", "Listening", "Finishing…", "Ready")
            }
            # Each final begins where the one before ended. The page leaves out empty ones.
            finals = [each for each in tab.received if each.get("final")]
            assert finals[0]["start"] == 0
            for before, after in pairwise(finals):
                assert after["start"] == pytest.approx(before["end"], abs=MICROSECOND)
            told = [[each["start"], each["end"], each["text"]] for each in finals if each["text"]]
            assert captions == told
            assert tab.received[-1] == {"type": "end"}
        assert len(calm.legs) == 1
        assert len(broken.legs) == 3
    assert [plain(captions) for captions in heard] == [SAID, SAID]


async def test_the_page_says_what_is_wrong(silence):
    """A microphone that may not be used, one that is not there, and an endpoint that refuses."""
    denied = """
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("", "{}"));
    """
    refusal = "answer status=403 error-type=AccessDeniedException times=always"
    with endpoint(refusal) as there:
        async with relay(there.config()) as address, browser(silence) as program:
            for name, said in (
                ("NotAllowedError", "The page may not use the microphone."),
                ("NotFoundError", "There is no microphone."),
            ):
                tab = await Page.open(program, address, denied.format(name))
                await tab.press("Start")
                await tab.becomes("Ready")
                assert await tab.problem() == said
            assert there.stats.opens == 0
            tab = await Page.open(program, address)
            refused = "The speech service refused the session. The captions have stopped."
            for attempt in (1, 2):
                await tab.press("Start")
                await tab.page.get_by_role("alert").get_by_text(refused).wait_for()
                await tab.becomes("Ready")
                # It is not tried again before the reader asks for it.
                assert there.stats.opens == attempt
            assert "Reconnecting…" not in await tab.shown("status")
            assert tab.errors == []


async def metronome(stream):
    """A model that hears a word in each half second, and guesses it first, whatever is said."""

    async def say(transcript, duration, *, is_final):
        alternative = {"transcript": transcript, "confidence": 1.0, "words": []}
        result = {"type": "Results", "channel_index": [0, 1], "start": told, "duration": duration}
        result |= {"is_final": is_final, "speech_final": False, "metadata": {}}
        await stream.send(json.dumps(result | {"channel": {"alternatives": [alternative]}}))

    heard = told = 0.0
    async for message in stream:
        if isinstance(message, str):
            continue
        heard += len(message) / 2 / 16_000
        while heard - told >= 0.5:
            await say(f"{told:.1f}?", 0.25, is_final=False)
            await say(f"{told:.1f}", 0.5, is_final=True)
            told += 0.5


async def test_a_session_that_fails_is_begun_again_and_ends_with_its_tab(silence):
    """The page says which part has no captions, and times go on."""
    # The stream breaks after two seconds, and so many requests fail that the session gives up.
    faults = ("reset after-audio=2.2 legs=1", "answer status=503 legs=2-4 times=3")
    async with AsyncExitStack() as stack:
        there = stack.enter_context(endpoint(*faults, model=metronome))
        config = there.config(max_retries=2, initial_backoff=0.01, close_timeout=1.0)
        program = await stack.enter_async_context(browser(silence))
        async with relay(config) as address:
            tab = await Page.open(program, address)
            await tab.press("Start")
            await tab.becomes("Reconnecting…")
            await tab.becomes("Listening")
            assert await tab.problem() == ""
            line = await tab.page.locator(".gap").text_content()
            missed = float(re.fullmatch(r"0:0[012]No captions for (\d+\.\d) s\.", line)[1])
            before, after = [], []
            for start, end, text in await tab.finals():
                (after if after or (text == "0.0" and before) else before).append((start, end))
            assert after[0][0] - before[-1][1] == pytest.approx(missed, abs=0.051)
            # A guess is shown, and replaced by what is final.
            shown = await tab.shown("interim")
            assert {"0.0?", ""} <= set(shown)
            assert all(not each or each.endswith("?") for each in shown)
            assert "?" not in await tab.page.locator("[role=log]").text_content()
            for captions in (before, after):
                assert [end for _, end in captions[:-1]] == [start for start, _ in captions[1:]]
            assert there.stats.live_streams == 1
            assert len(there.legs) == 5
            # Nothing is left of a tab that closes while it speaks.
            await tab.page.close()
            await until(lambda: there.stats.live_streams == 0)
            assert there.stats.live_connections == 0
            assert tab.errors == []
            # Waits of more than so many milliseconds are shortened.
            hasty = "const later = setTimeout;"
            hasty += "setTimeout = (what, ms) => later(what, ms > {} ? ms / 50 : ms);"
            tabs = [await Page.open(program, address, hasty.format(ms)) for ms in (0, 10_000)]
            for tab in tabs:
                await tab.press("Start")
                await tab.page.locator(".final").first.wait_for()
        # The relay is gone. One tab tries again until it gives up, the other is stopped.
        lasting, stopped = tabs
        await stopped.becomes("Reconnecting…")
        await stopped.press("Stop")
        for tab, said in (
            (lasting, "The connection to the captions was lost. The captions have stopped."),
            (stopped, "The last captions did not come. The captions have stopped."),
        ):
            await tab.page.get_by_role("alert").get_by_text(said).wait_for()
            await tab.becomes("Ready")
            assert await tab.page.locator(".gap").count() == 1
            assert tab.errors == []
        assert (await lasting.shown("status")).count("Reconnecting…") == 1
