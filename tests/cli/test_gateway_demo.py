"""The page of `gateway --demo` in a headless browser, with real speech and a broken stream."""

import json
import re

import pytest
from cli.gateways import gateway
from examples.browsers import Page, browser, spoken
from sessions import until

# Much waits for the browser and for the recogniser, which are slow on a busy machine.
pytestmark = pytest.mark.patience(240)

SECONDS = 9.0
"""Of the recording that are played."""
SAID = "it was the best of times it was the worst of times it was the age of wisdom"


@pytest.fixture
def speech(tmp_path):
    """The first sentences of the bundled recording, for the microphone."""
    return spoken(tmp_path / "speech.wav", 0.8, 6.0)


class Demo(Page):
    """The demo's page."""

    async def figure(self, name):
        return await self.page.locator(f"#{name}").text_content()

    @property
    def told(self):
        """The final results."""
        return [each for each in self.received if each.get("is_final")]

    @property
    def heard_until(self):
        return max((each["start"] + each["duration"] for each in self.told), default=0.0)

    async def captions(self):
        """The words of the final captions."""
        text = " ".join(text for *_, text in await self.finals())
        return " ".join(re.sub("[^a-z ]", " ", text.lower()).split())


async def test_a_broken_stream_is_not_seen_in_the_captions(speech):
    async with gateway("--demo") as running, browser(speech) as program:
        await running.up()
        assert f"Open {running.http}/ in a browser" in running.said
        tab = await Demo.open(program, running.http.removeprefix("http://"))
        await tab.becomes("Ready")
        button = tab.page.get_by_role("button", name="Break the stream")
        assert await button.is_disabled()
        await tab.press("Play the recording")
        await tab.becomes("Listening")
        for seconds, broken in ((3.0, 1), (6.0, 2)):
            await until(lambda seconds=seconds: tab.heard_until >= seconds, within=100)
            await tab.press("Break the stream")
            await tab.page.get_by_text("The stream broke.").nth(broken - 1).wait_for()
            assert await tab.figure("resets") == str(broken)
        await until(lambda: tab.heard_until >= SECONDS, within=100)
        await tab.press("Stop")
        await tab.becomes("Ready")
        assert await tab.problem() == ""
        assert tab.errors == []
        # Nothing was lost, and each result begins where the one before ended.
        assert await tab.figure("lost") == "0.0"
        assert await tab.figure("gaps") == "0"
        assert float(await tab.figure("replayed")) > 0
        end = 0.0
        for final in tab.told:
            assert final["start"] == pytest.approx(end, abs=1e-6)
            end = final["start"] + final["duration"]
        # Each break is named, and nothing of the captions is missing.
        assert await tab.page.locator("mark").count() == 2
        assert SAID in await tab.captions()
        said = await tab.page.locator("#happened li").all_text_contents()
        assert all("0.0 s were lost" in each for each in said)
        # The figures are those of the gateway, and it says nothing of the recording.
        figures = json.loads((await running.get("/demo/figures"))[1])
        assert figures["resets"] == 2
        assert figures["seconds_lost"] == 0
        # The microphone is a source like the recording.
        tab.received.clear()
        await tab.press("Use the microphone")
        await tab.becomes("Listening")
        await until(lambda: tab.heard_until >= 4.0, within=100)
        await tab.press("Stop")
        await tab.becomes("Ready")
        assert "best of times" in await tab.captions()
        assert tab.errors == []
        running.stop()
        assert (await running.ended())[0] == 0


async def test_other_pages_break_nothing(speech):
    """A stranger's page can make a browser ask, and is refused."""
    async with gateway("--demo") as running:
        await running.up()
        assert (await running.get("/demo/break"))[0] == 405
        foreign = {"Origin": "https://evil.example"}
        assert (await running.get("/demo/break", method="POST", **foreign))[0] == 403
        own = {"Origin": running.http}
        assert (await running.get("/demo/break", method="POST", **own))[0] == 200
        status, page = await running.get("/")
        assert (status, "<title>" in page) == (200, True)
        # Nothing is fetched from elsewhere.
        assert not re.search(r'(?:src|href)="(?!data:)', page)
        running.stop()
        assert (await running.ended())[0] == 0
