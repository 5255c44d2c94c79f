"""The report: its schema, and the page that is made of it."""

import io
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import jsonschema
import pytest
from deepgram_sagemaker.cli.loading import table
from deepgram_sagemaker.load.audio import watermarked
from deepgram_sagemaker.load.conductor import Course
from deepgram_sagemaker.load.page import page
from deepgram_sagemaker.load.plan import Plan
from deepgram_sagemaker.load.report import report, schema
from deepgram_sagemaker.load.spec import Spec
from deepgram_sagemaker.load.tally import Tally
from deepgram_sagemaker.load.verdict import Limits, conclude, judge
from rich.console import Console

PLAN = Plan(streams=20, ramp=4.0, duration=0.0, step=10)
SAID = "no <b>room</b> & no hope"


def second(live, **fields):
    tally = Tally(wanted=live, live=live, chunks=50 * live, cpu=0.5, thread=0.4, **fields)
    for delay in (0.2, 0.3, 0.4):
        tally.finals.add(delay)
        tally.interims.add(delay / 2)
    tally.opening.add(0.05)
    tally.first.add(0.6)
    return tally


def course(*steps, ending=None, stopped=False, lost=()):
    """A test whose steps had these seconds."""
    made = Course(ending=ending or Tally(), is_stopped=stopped, lost_workers=list(lost))
    for seconds in steps:
        step = PLAN.next(made.judged)
        begins = len(made.seconds)
        made.seconds += seconds
        made.judged.append(judge(step, begins, seconds, Limits(), 0.3, stopped=stopped))
    made.conclusion = conclude(made.judged, PLAN.streams, made.ending, stopped=stopped)
    return made


def reported(course):
    spec = Spec(
        endpoint_name="my-endpoint",
        region="eu-west-1",
        query={"model": "nova-3", "keyterm": ["one", "two"]},
        pieces=[watermarked()],
        streams=20,
        settings={"max_retries": 0, "proxy": "http://user:secret@proxy:3128"},
    )
    found = report(
        course,
        PLAN,
        spec,
        Limits(),
        workers="this process",
        started=datetime(2027, 1, 5, tzinfo=UTC),
    )
    jsonschema.validate(found, schema())
    # As it is after it was written.
    written = json.dumps(found)
    assert "secret" not in written
    assert found["asked"]["settings"] == {"max_retries": 0, "proxy": "http://***@proxy:3128"}
    return json.loads(written)


def refused():
    last = second(15)
    last.refused["424 ModelError"] += 5
    last.failed["424 ModelError"] += 2
    last.resets["reset"] += 1
    last.examples["424 ModelError"] = SAID
    last.late = 200
    return course([second(10), second(10)], [second(15), last], ending=Tally(finished=15))


class Text(HTMLParser):
    """What a reader of a page sees, and whether its tags are closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text):
        super().__init__()
        self.words = []
        self.open = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words += data.split()

    @property
    def said(self):
        return " ".join(self.words)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema())
    for spoil in (
        lambda found: found["verdict"].update(outcome="perhaps"),
        lambda found: found.update(more=1),
        lambda found: found["steps"][0]["lag"].update(p95="slow"),
    ):
        found = reported(refused())
        spoil(found)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(found, schema())


def test_a_report_has_the_figures():
    found = reported(refused())
    assert found["verdict"]["sentence"] == (
        f"my-endpoint holds 15 streams: the 16th was refused (424 ModelError: {SAID})"
    )
    assert found["started"] == "2027-01-05T00:00:00+00:00"
    assert [step["outcome"] for step in found["steps"]] == ["held", "refused"]
    lag = found["steps"][0]["lag"]
    # Of the settled second alone.
    assert lag["count"] == 6
    assert 0.4 <= lag["p99"] <= 0.41
    assert found["steps"][0]["lag_interim"]["max"] == 0.2
    assert found["total"]["opening"]["count"] == 4
    assert found["total"]["finished"] == 15
    assert [row["live"] for row in found["timeline"]] == [10, 10, 15, 15]


def test_the_page_says_it_all_and_trusts_no_text():
    found = reported(refused())
    text = page(found)
    said = Text(text).said
    assert found["verdict"]["sentence"] in said
    assert "<b>room</b>" not in text
    for words in (
        "Load test of my-endpoint",
        f"Refused: 5 \N{MULTIPLICATION SIGN} 424 ModelError: {SAID}",
        f"Failed: 2 \N{MULTIPLICATION SIGN} 424 ModelError: {SAID}",
        "Resets: 1 \N{MULTIPLICATION SIGN} reset",
        "eu-west-1",
        '"max_retries": 0',
        "this process",
        "2027-01-05T00:00:00+00:00",
        "deepgram-sagemaker",
        "The load generator was too slow in 1 of 2 steps: up to 13% of the audio left late.",
    ):
        assert words in said, words
    assert text.count("<svg") == 5
    assert "prefers-color-scheme:dark" in text


@pytest.mark.parametrize(
    "made",
    [
        course(stopped=True),
        course([second(10)], stopped=True),
        course([second(10), second(10)], [second(20), second(20)]),
        course([Tally(), Tally(refused={"503 ServiceUnavailable": 4})]),
        course([second(10), second(10)], lost=["process 2: it ended with status -9"]),
    ],
    ids=["nothing", "stopped", "held", "full", "lost"],
)
def test_every_end_has_a_page_and_a_table(made):
    found = reported(made)
    said = Text(page(found)).said
    assert found["verdict"]["sentence"] in said
    assert all(worker in said for worker in found["workers"]["lost"])
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(table(found))
    rows = console.export_text().splitlines()
    assert len(rows) == 2 + len(found["steps"])


def test_plots_are_the_same_every_time():
    found = reported(refused())
    assert re.sub(r"\s+", " ", page(found)) == re.sub(r"\s+", " ", page(found))
