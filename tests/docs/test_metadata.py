"""What the package index shows: the metadata is right, and the README's links lead somewhere."""

import re
import subprocess
import sys
import tarfile
import tomllib
from email import message_from_string
from pathlib import Path

import pytest
import yaml
from readme_renderer import markdown

ROOT = Path(__file__).parents[2]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Source"]
RAW = REPOSITORY.replace("github.com", "raw.githubusercontent.com")

ABSOLUTE = ("README.md", "CHANGELOG.md")
"""Files that are read outside the repository, too."""


@pytest.mark.patience(180)
def test_the_index_accepts_and_renders_what_it_is_given(tmp_path):
    """A source distribution has the metadata that a wheel has."""

    def run(*command):
        finished = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=80,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr

    run("maturin", "sdist", "--out", str(tmp_path))
    (sdist,) = tmp_path.glob("*.tar.gz")
    run("twine", "check", "--strict", str(sdist))
    with tarfile.open(sdist) as archive:
        (name,) = (n for n in archive.getnames() if n.count("/") == 1 and n.endswith("PKG-INFO"))
        metadata = message_from_string(archive.extractfile(name).read().decode())
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL"))
    assert set(urls) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert metadata["Author"]
    assert metadata["Keywords"]
    assert metadata["Description-Content-Type"].startswith("text/markdown")
    assert metadata.get_payload().startswith("# deepgram-sagemaker")


def test_the_index_shows_the_readme_with_its_picture():
    shown = markdown.render((ROOT / "README.md").read_text(encoding="utf-8"))
    assert f'src="{RAW}/main/docs/pictures/demo.svg"' in shown
    assert "<table>" in shown


def links(page):
    """The targets of a page's links and pictures."""
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ABSOLUTE)
def test_links_are_absolute_and_lead_somewhere(page):
    found = links(page)
    assert found
    for link in found:
        address, _, anchor = link.partition("#")
        if not address:
            assert anchor in anchors(ROOT / page), link
            continue
        assert address.startswith("https://"), link
        for start in (f"{REPOSITORY}/blob/main/", f"{REPOSITORY}/tree/main/", f"{RAW}/main/"):
            if address.startswith(start):
                path = ROOT / address.removeprefix(start)
                assert path.exists(), link
                assert not anchor or anchor in anchors(path), link


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_relative_links_lead_somewhere(page):
    for link in links(page):
        if not link.startswith("https://"):
            address, _, anchor = link.partition("#")
            assert (ROOT / address).exists(), link
            assert not anchor or anchor in anchors(ROOT / address), link


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_the_forms_for_issues_are_forms(name):
    form = yaml.safe_load((ROOT / f".github/ISSUE_TEMPLATE/{name}.yml").read_text("utf-8"))
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) > 1
    for field in fields:
        assert field["type"] in ("textarea", "input", "dropdown")
        assert field["attributes"]["label"]
