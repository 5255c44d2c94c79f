"""A report as a page: one file, without anything from the network, and without scripts.

Needs matplotlib (extra `load`). Imports `plots`.
"""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any, Final

from .plots import plots, style

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["page"]

_CSS: Final = """
:root{color-scheme:light dark;--ground:#fff}
@media(prefers-color-scheme:dark){:root{--ground:#12151b}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);
margin:2rem auto;padding:0 1rem;max-width:62rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
.verdict{font-size:1.25rem;border-left:.4rem solid var(--first);padding:.3rem 0 .3rem 1rem}
.verdict.not{border-color:var(--bad)}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--faint)}
th{vertical-align:bottom}
td:last-child,th:last-child,.facts th,.facts td{text-align:left}
tr.not td{color:var(--bad)}
svg{width:100%;height:auto}
figure{margin:1rem 0}figcaption{font-weight:600}
"""

_COLUMNS: Final = (
    "Streams",
    "Open",
    "Seconds",
    "To open p95",
    "First result p95",
    "Lag p50",
    "Lag p95",
    "Lag p99",
    "Refused",
    "No answer",
    "Failed",
    "Resets",
    "Throttled",
    "Audio lost",
    "Sent late",
    "Outcome",
)

_EXPLAINED: Final = """
<p>Delays are in seconds. <b>Lag</b> is from the moment at which a result's last audio was spoken to
the result, interim and final results together; each step's is taken after all of its streams had
been opened. <b>To open</b> is from wanting a stream to having it, retries included. <b>First
result</b> is from the first audio. <b>Sent late</b> is audio for which the load generator's clock
struck more than 50 ms late: if it is more than a few per cent, the generator was too slow, and not
the endpoint.</p>
"""


def page(report: Mapping[str, Any]) -> str:
    """Return a report as HTML."""
    verdict, asked, endpoint = report["verdict"], report["asked"], report["endpoint"]
    title = f"Load test of {endpoint['name']}"
    drawn = plots(report) if report["timeline"] and report["steps"] else []
    figures = "\n".join(
        f"<figure><figcaption>{html.escape(each.title)}</figcaption>\n{each.svg}</figure>"
        for each in drawn
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title>
<style>{style()}{_CSS}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p class="verdict{"" if verdict["holds"] else " not"}">{html.escape(verdict["sentence"])}.</p>
{_warning(report)}
<h2>Steps</h2>
<div class="wide">{_table(_COLUMNS, (_row(step) for step in report["steps"]))}</div>
{_EXPLAINED}
{_causes(report)}
<h2>Plots</h2>
{figures}
<h2>What was asked for</h2>
{_facts(_settings(report, asked))}
</body>
</html>
"""


def _warning(report: Mapping[str, Any]) -> str:
    lines = [f"A worker was lost: {each}" for each in report["workers"]["lost"]]
    slow = [step for step in report["steps"] if step["limited_by_workers"]]
    if slow:
        worst = max(step["chunks_late"] / max(1, step["chunks"]) for step in slow)
        lines.append(
            f"The load generator was too slow in {len(slow)} of {len(report['steps'])} steps: up "
            f"to {worst:.0%} of the audio left late. Use more workers."
        )
    return "\n".join(f'<p class="verdict not">{html.escape(line)}</p>' for line in lines)


def _row(step: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Return whether a step held, and its cells."""
    late = step["chunks_late"] / max(1, step["chunks"])
    lost = step["seconds_lost"]
    marks = [
        f"{step[name]} chunks {word}"
        for name, word in (("chunks_missing", "missing"), ("chunks_repeated", "twice"))
        if step[name]
    ]
    return step["outcome"] == "held", [
        str(step["streams"]),
        str(step["live"]),
        str(step["seconds"]),
        *(_seconds(step[name]["p95"]) for name in ("opening", "first_result")),
        *(_seconds(step["lag"][share]) for share in ("p50", "p95", "p99")),
        *(str(sum(step[name].values())) for name in ("refused", "unreachable", "failed", "resets")),
        str(step["throttles"]),
        ", ".join([*([f"{lost:.2f} s"] if lost else []), *marks]) or "0",
        f"{late:.1%}",
        step["reason"],
    ]


def _seconds(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def _table(columns: Iterable[str], rows: Iterable[tuple[bool, list[str]]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = "\n".join(
        f"<tr{'' if good else ' class=not'}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for good, cells in rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"


def _causes(report: Mapping[str, Any]) -> str:
    """Return what failed, by kind, over the whole test."""
    total = report["total"]
    lines = [
        f"{title}: {count} \N{MULTIPLICATION SIGN} {kind}"
        + (f": {total['examples'][kind]}" if kind in total["examples"] else "")
        for name, title in (
            ("refused", "Refused"),
            ("unreachable", "No answer"),
            ("failed", "Failed"),
            ("resets", "Resets"),
        )
        for kind, count in total[name].items()
    ]
    if total["retries"] or total["throttles"] or total["rollovers"]:
        lines.append(
            f"{total['retries']} requests tried again, {total['throttles']} throttled, "
            f"{total['rollovers']} streams replaced because of their age"
        )
    if total["seconds_unanswered"]:
        lines.append(
            f"{total['seconds_unanswered']:.1f} s of audio had no final result when its session "
            "failed or was cut off"
        )
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>What else happened</h2><ul>{items}</ul>"


def _settings(report: Mapping[str, Any], asked: Mapping[str, Any]) -> list[tuple[str, str]]:
    endpoint = report["endpoint"]
    audio = "; ".join(
        f"{each['name']}, {each['seconds']:.1f} s, {each['encoding']}, {each['sample_rate']} Hz, "
        f"{each['channels']} channel{'' if each['channels'] == 1 else 's'}"
        for each in asked["audio"]
    )
    stay = f"then {asked['duration']:g} s with all of them"
    return [
        ("Begun", report["started"]),
        ("Endpoint", " ".join(str(each) for each in endpoint.values() if each)),
        ("Path", asked["path"]),
        ("Parameters", json.dumps(asked["query"])),
        ("Settings", json.dumps(asked["settings"])),
        ("Audio", audio),
        (
            "Streams",
            f"{asked['streams']}, in steps of {asked['step']} within {asked['ramp']:g} s, {stay}",
        ),
        ("Each stream", _length(asked["stream_duration"])),
        ("Limits", json.dumps(report["limits"])),
        ("Workers", report["workers"]["kind"]),
        *((name, value) for name, value in report["versions"].items()),
    ]


def _length(seconds: float | None) -> str:
    return "to the end of the test" if seconds is None else f"{seconds:g} s, then another"


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    body = "\n".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    return f'<div class="wide"><table class="facts"><tbody>{body}</tbody></table></div>'
