"""The pictures of the command line, made as `make pictures` makes them."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("pyte", reason="pyte, of the development tools, is not installed")
pytest.importorskip("moonshine_voice", reason="the extra `local` is not installed")

ROOT = Path(__file__).parent.parent
SHOWN = ROOT / "docs" / "pictures"
# The demo takes its time, and has a test of its own.
ONLY = ("--only", "local", "--only", "doctor", "--only", "load")
SVG = "{http://www.w3.org/2000/svg}"

WORDS = {
    "demo": (
        "$ deepgram-sagemaker demo",
        "https://127.0.0.1:8443, HTTP/2 over TLS",
        "0:04.70 It was the best of times, it was the worst of times.",
        "Lost nothing: the final results tile the audio",
    ),
    "local": (
        "$ deepgram-sagemaker local --endpoint-name my-deepgram-endpoint --fault 'reset",
        "Secret key ********",
        "export AWS_SECRET_ACCESS_KEY=********",
        " leg 1: v1/listen accepted",
        " leg 1: fault reset",
        "leg 2: ended in order after ",
    ),
    "transcribe": (
        "$ deepgram-sagemaker transcribe speech.wav -e my-deepgram-endpoint",
        "my-deepgram-endpoint in us-east-1",
        "It was the best of times",
        "2: 1 reset (1 reset), 0 retries, 0 rollovers, ",
        "Lost nothing: the final results tile the audio",
    ),
    "doctor": (
        "$ deepgram-sagemaker doctor my-deepgram-endpoint",
        "ok identity arn:aws:sts::123456789012:assumed-role/caller/session",
        "failed permission access denied",
        "What to do: the caller needs the IAM action",
        "Failed: permission",
    ),
    "load": (
        "$ deepgram-sagemaker load my-deepgram-endpoint --streams 200 --step 25 ",
        "Endpoint my-deepgram-endpoint in us-east-1",
        " s: held; lag p95 ",
        "Streams Open open result p50 p95 p99 fused Failed Resets Lost Outcome",
        "my-deepgram-endpoint holds 150 streams: the 151st was refused (424 ModelError",
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    finished = subprocess.run(
        [sys.executable, ROOT / "tools" / "pictures.py", folder, "--hurry", *ONLY],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return folder


def rows(path):
    """The text of a picture, row by row, with one space where there are more."""
    found = {}
    for each in ET.parse(path).iter(f"{SVG}text"):
        text = (each.text or "").replace("\N{NO-BREAK SPACE}", " ")
        found.setdefault(float(each.get("y")), []).append((float(each.get("x")), text))
    return [
        " ".join(" ".join(text for _, text in sorted(row)).split())
        for _, row in sorted(found.items())
    ]


def check(path):
    said = " ".join(rows(path))
    for words in WORDS[path.stem]:
        assert words in said, said
    content = path.read_text(encoding="utf-8")
    # Nothing is fetched, and no key is kept.
    assert not re.search(r"@font-face|@import|url\(|href", content)
    assert "local-endpoint" not in content
    assert path.stat().st_size < 20_000


@pytest.mark.patience(180)
@pytest.mark.parametrize("name", [name for name in WORDS if name != "demo"])
def test_a_picture_shows_a_real_run(made, name):
    check(made / f"{name}.svg")


@pytest.mark.patience(180)
@pytest.mark.parametrize("folder", ["made", "shown"])
def test_a_plot_shows_the_knee(request, folder):
    path = (SHOWN if folder == "shown" else request.getfixturevalue("made")) / "load-delays.svg"
    content = path.read_text(encoding="utf-8")
    texts = [each.text for each in ET.fromstring(content).iter(f"{SVG}text")]
    assert {"150", "lag p95", "first result p95", "open streams", "seconds"} <= set(texts)
    # It has the colours of both grounds, and fetches nothing.
    assert "prefers-color-scheme:dark" in content
    assert not re.search(r'@font-face|@import|url\((?!#)|href="(?!#)', content)
    assert path.stat().st_size < 40_000


@pytest.mark.parametrize("name", WORDS)
def test_the_pictures_of_the_documents_show_the_same(name):
    check(SHOWN / f"{name}.svg")
