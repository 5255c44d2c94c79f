"""A headless browser whose microphone plays a file."""

import json
import shutil
import wave
from contextlib import asynccontextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# What the page has shown, in order: statuses, and the texts that were not final.
WATCH = """
window.shown = { status: [], interim: [] };
addEventListener("DOMContentLoaded", () => {
  for (const [id, list] of Object.entries(window.shown)) {
    const element = document.getElementById(id);
    new MutationObserver(() => list.push(element.textContent))
      .observe(element, { childList: true, characterData: true, subtree: true });
  }
});
"""


def spoken(path, start, seconds):
    """Writes a part of the bundled recording to a file, for the microphone."""
    pytest.importorskip("moonshine_voice", reason="the extra `local` is not installed")
    from deepgram_sagemaker.local.speech.sample import two_cities

    with wave.open(str(two_cities())) as source, wave.open(str(path), "wb") as target:
        target.setparams(source.getparams())
        source.setpos(round(start * source.getframerate()))
        target.writeframes(source.readframes(round(seconds * source.getframerate())))
    return path


@asynccontextmanager
async def browser(recording):
    """Starts the browser that is installed; skips the test where there is none.

    Args:
        recording: The WAV file that each tab hears, from its first getUserMedia on.
    """
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("there is no chromium")
    async with playwright.async_playwright() as running:
        program = await running.chromium.launch(
            executable_path=executable,
            args=[
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={recording}%noloop",
            ],
        )
        try:
            yield program
        finally:
            await program.close()


class Page:
    """A page with captions in a tab of its own.

    Args:
        page: Playwright's page.
    """

    def __init__(self, page):
        self.page = page
        self.errors = []
        # What the server told it, in order.
        self.received = []
        page.on("pageerror", lambda error: self.errors.append(error))
        page.on("websocket", self._watch)

    def _watch(self, socket):
        socket.on("framereceived", lambda text: self.received.append(json.loads(text)))

    @classmethod
    async def open(cls, browser, address, script="", **options):
        """Opens it in a fresh profile."""
        context = await browser.new_context(**options)
        page = cls(await context.new_page())
        await page.page.add_init_script(WATCH + script)
        await page.page.goto(f"http://{address}/")
        return page

    async def press(self, name):
        """Presses the button, which must have this name."""
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def becomes(self, status):
        """Waits for a status."""
        await self.page.get_by_role("status").get_by_text(status, exact=True).wait_for()

    async def problem(self):
        """What the page says is wrong."""
        return await self.page.locator("[role=alert]").text_content()

    async def shown(self, what):
        """The texts that were shown as `status` or `interim`, in order."""
        return await self.page.evaluate(f"window.shown.{what}")

    async def finals(self):
        """The final captions: start, end, text."""
        return await self.page.evaluate(
            "[...document.querySelectorAll('.final')].map("
            "(each) => [Number(each.dataset.start), Number(each.dataset.end), each.textContent])"
        )
