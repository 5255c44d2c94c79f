"""What a test found, as plain data: the JSON report, which the table and the page are made of too.

`report.schema.json` beside this module describes it. Imports `conductor`, `plan`, `spec`, `tally`
and `verdict`.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.config import mask_userinfo

from .tally import add_up

if TYPE_CHECKING:
    from datetime import datetime

    from .conductor import Course
    from .histogram import Histogram
    from .plan import Plan
    from .spec import Spec
    from .tally import Tally
    from .verdict import Limits

__all__ = ["FORMAT", "FORMAT_VERSION", "figures", "report", "schema"]

FORMAT: Final = "deepgram-sagemaker-load"
FORMAT_VERSION: Final = 1

_DISTRIBUTIONS: Final = ("deepgram-sagemaker", "deepgram-sdk", "aws-sdk-sagemaker-runtime-http2")
_DIGITS: Final = 4
# The share of all durations that does not exceed each figure.
_QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))


def schema() -> dict[str, Any]:
    """Return the JSON schema of a report."""
    path = Path(__file__).with_name("report.schema.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def report(
    course: Course, plan: Plan, spec: Spec, limits: Limits, *, workers: str, started: datetime
) -> dict[str, Any]:
    """Return a test's report.

    Args:
        course: The test, which is over.
        plan: What was asked for.
        spec: The endpoint and the audio.
        limits: What a step might not exceed.
        workers: What held the streams, in words.
        started: When it began, with its time zone.
    """
    conclusion = course.conclusion
    assert conclusion is not None  # noqa: S101 - it is over
    total = add_up([*course.seconds, course.ending])
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "started": started.isoformat(timespec="seconds"),
        "seconds": len(course.seconds),
        "endpoint": {
            "name": spec.endpoint_name,
            "region": spec.region,
            "uri": spec.endpoint_uri,
        },
        "verdict": {
            "outcome": conclusion.outcome.value,
            "holds": conclusion.holds,
            "streams": conclusion.knee,
            "exact": conclusion.is_exact,
            "stopped": course.is_stopped,
            "sentence": f"{spec.endpoint_name} {conclusion.sentence}",
        },
        "asked": {
            **dataclasses.asdict(plan),
            "stream_duration": spec.stream_duration,
            "path": "v2/listen" if spec.flux else "v1/listen",
            "query": spec.query,
            "settings": {name: _masked(value) for name, value in (spec.settings or {}).items()},
            "audio": [
                {
                    "name": piece.name,
                    "seconds": round(piece.seconds, _DIGITS),
                    "encoding": piece.encoding,
                    "sample_rate": piece.sample_rate,
                    "channels": piece.channels,
                    "marked": bool(piece.marks),
                }
                for piece in spec.pieces
            ],
        },
        "limits": dataclasses.asdict(limits),
        "workers": {"kind": workers, "lost": course.lost_workers},
        "steps": [
            {
                "name": each.step.name,
                "streams": each.step.streams,
                "begins": each.begins,
                "seconds": each.step.seconds,
                "outcome": each.outcome.value,
                "reason": each.reason,
                "limited_by_workers": each.is_limited_by_us,
                "live": each.live,
                **figures(each.total, settled=each.settled),
            }
            for each in course.judged
        ],
        "timeline": [
            {
                "second": number,
                "wanted": tally.wanted,
                "live": tally.live,
                "silent": tally.silent,
                "age": round(tally.age, _DIGITS),
                **figures(tally),
            }
            for number, tally in enumerate(course.seconds)
        ],
        "total": figures(total),
        "ending": figures(course.ending),
        "versions": {
            **{each: metadata.version(each) for each in _DISTRIBUTIONS},
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
    }


def _masked(value: object) -> object:
    """Return a setting without the user and the password that a URL may have."""
    return mask_userinfo(value).strip("'\"") if isinstance(value, str) else value


def figures(tally: Tally, *, settled: Tally | None = None) -> dict[str, Any]:
    """Return the figures of one second, or of several.

    Args:
        tally: All of them.
        settled: What delays are taken from instead, those of opening excepted.
    """
    delays = tally if settled is None else settled
    return {
        "opened": tally.opened,
        "finished": tally.finished,
        "cut": tally.cut,
        "refused": dict(tally.refused),
        "unreachable": dict(tally.unreachable),
        "failed": dict(tally.failed),
        "resets": dict(tally.resets),
        "retries": tally.retries,
        "throttles": tally.throttles,
        "rollovers": tally.rollovers,
        "seconds_lost": round(tally.lost, _DIGITS),
        "seconds_unanswered": round(tally.unanswered, _DIGITS),
        "chunks": tally.chunks,
        "chunks_missing": tally.missing,
        "chunks_repeated": tally.repeated,
        "chunks_late": tally.late,
        "chunks_waited": tally.waited,
        "cpu": round(tally.cpu, _DIGITS),
        "busiest_thread": round(tally.thread, _DIGITS),
        "opening": _delays(tally.opening),
        "first_result": _delays(tally.first),
        "lag": _delays(delays.lag),
        "lag_final": _delays(delays.finals),
        "lag_interim": _delays(delays.interims),
        "clock_late": _delays(delays.lateness),
        "examples": dict(tally.examples),
    }


def _delays(histogram: Histogram) -> dict[str, float | int | None]:
    """Return the figures of durations, in seconds."""
    found: dict[str, float | int | None] = {"count": histogram.total}
    for name, share in _QUANTILES:
        value = histogram.quantile(share)
        found[name] = None if value is None else round(value, _DIGITS)
    return found
