"""The site builds without a warning, loads nothing from elsewhere, and has every public name."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PUBLIC = (
    "deepgram_sagemaker",
    "deepgram_sagemaker.errors",
    "deepgram_sagemaker.events",
    "deepgram_sagemaker.gateway",
    "deepgram_sagemaker.local",
    "deepgram_sagemaker.local.faults",
    "deepgram_sagemaker.local.pytest_plugin",
    "deepgram_sagemaker.local.watermark",
)
"""Modules of whose public names each has its description."""

SEARCH = "search/search_index.json"

PASTED = (
    "no TCP connection came up",
    "A different async transport factory is already installed",
    "access denied",
    "no AWS credentials were found",
)
"""Texts of errors."""

ELSEWHERE = {"__version__", "errors", "events"}
"""Names that are described in the text of a page."""


@pytest.mark.patience(180)
def test_the_site(tmp_path, subtests):
    """One test, because the site is built for it once."""
    site = built(tmp_path)
    with subtests.test("nothing is loaded from elsewhere"):
        nothing_is_loaded_from_elsewhere(site)
    with subtests.test("every public name is described"):
        every_public_name_is_described(site)
    with subtests.test("the search finds an error by its text"):
        the_search_finds_errors(site)


def built(folder):
    """Builds the site; returns its files by their path."""
    finished = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "WARNING" not in finished.stderr, finished.stderr
    wanted = [*folder.rglob("*.html"), *folder.rglob("*.css"), folder / SEARCH]
    return {str(page.relative_to(folder)): page.read_text(encoding="utf-8") for page in wanted}


class Loaded(HTMLParser):
    """What a browser fetches for a page without being asked."""

    def __init__(self):
        super().__init__()
        self.addresses = []
        self.classes = set()

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.classes.update((told.get("class") or "").split())
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(told.get("src"))
        if tag == "link" and told.get("rel") not in ("canonical", "next", "prev", "edit"):
            self.addresses.append(told.get("href"))


def nothing_is_loaded_from_elsewhere(site):
    for name, text in site.items():
        if name == SEARCH:
            continue
        if name.endswith(".css"):
            addresses = re.findall(r"url\(([^)]*)\)", text) + re.findall(r"@import[^;]*", text)
        else:
            page = Loaded()
            page.feed(text)
            addresses = page.addresses
            # For these the theme's script fetches something by itself.
            assert not page.classes & {"mermaid", "arithmatex"}, name
            assert 'data-md-component="source"' not in text, name
        for address in addresses:
            assert not re.match(r"['\"]?(https?:)?//", address or ""), (name, address)


def every_public_name_is_described(site):
    anchors = set(re.findall(r'id="(deepgram_sagemaker[\w.]*)"', "".join(site.values())))
    for module in PUBLIC:
        there = importlib.import_module(module)
        for name in set(there.__all__) - ELSEWHERE:
            thing = getattr(there, name)
            home = getattr(thing, "__module__", module)
            assert {f"{module}.{name}", f"{home}.{name}"} & anchors, f"{module}.{name}"


def the_search_finds_errors(site):
    entries = json.loads(site[SEARCH])["docs"]
    for pasted in PASTED:
        found = [entry["location"] for entry in entries if entry["title"] == pasted]
        assert [location.partition("#")[0] for location in found] == ["errors.html"], pasted


def test_the_drawn_states_are_those_of_the_tables():
    spec = importlib.util.spec_from_file_location("draw_states", ROOT / "tools/draw_states.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.PICTURE.read_text(encoding="utf-8") == tool.draw(), "run tools/draw_states.py"
