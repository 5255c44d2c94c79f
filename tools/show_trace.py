"""Show one session with two resets and a rollover: its trace as a picture, and what else it says.

Run it in the environment that `make build` makes. It plays the session against the local endpoint,
draws its trace, prints its events, its log and its metrics, and fails if they do not agree with
`stats`:

    .venv/bin/python tools/show_trace.py docs/pictures/trace.svg
"""

import argparse
import asyncio
import logging
import sys
from html import escape
from pathlib import Path

from deepgram import AsyncDeepgramClient
from deepgram_sagemaker import SageMakerTransportFactory, events
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import AfterNewChunks, Drop, Fault, Reset
from deepgram_sagemaker.local.watermark import chunk
from deepgram_sagemaker.otel import Telemetry
from deepgram_sagemaker.stats import Stats
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

CHUNKS = 480
SECONDS_A_CHUNK = 0.02
PREFIX = "deepgram_sagemaker."


class Lines(logging.Handler):
    """Keeps the log's lines with the seconds since the first."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[tuple[float, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.created, record.getMessage()))


async def play(factory: SageMakerTransportFactory) -> None:
    """Stream counted chunks in real time, and check that each came back once."""
    client = AsyncDeepgramClient(api_key="unused", transport_factory=factory)
    heard: list[int] = []
    loop = asyncio.get_running_loop()
    async with client.listen.v1.connect(
        model="nova-3", encoding="linear16", sample_rate=16000
    ) as connection:

        async def listen() -> None:
            async for message in connection:
                if message.type == "Results" and message.is_final:
                    heard.extend(map(int, message.channel.alternatives[0].transcript.split()))

        listening = asyncio.create_task(listen())
        began = loop.time()
        for number in range(CHUNKS):
            await connection.send_media(chunk(number, 640))
            await asyncio.sleep(began + (number + 1) * SECONDS_A_CHUNK - loop.time())
        await connection.send_close_stream()
        await listening
    agree("the chunks that came back", heard, list(range(CHUNKS)))


def agree(what: str, found: object, expected: object) -> None:
    """Fail unless two figures are the same."""
    if found != expected:
        sys.exit(f"{what}: {found}, and not {expected}")


def own(attributes: object) -> dict[str, object]:
    """The attributes without the prefix."""
    return {name.removeprefix(PREFIX): value for name, value in dict(attributes or {}).items()}


def check(
    stats: Stats, seen: list[events.Event], spans: list[ReadableSpan], metrics: dict[str, float]
) -> None:
    """Fail unless all views have the same figures."""
    resets = sum(stats.resets.values())
    agree("what happened", (resets, stats.rollovers, stats.bytes_lost), (2, 1, 0))
    (ended,) = (each for each in seen if isinstance(each, events.SessionEnded))
    agree("the last event's totals", ended.totals, stats)
    resumed = [each for each in seen if isinstance(each, events.Resumed)]
    for name, kind, figure in (
        ("LegOpened", events.LegOpened, stats.legs),
        ("LegEnded", events.LegEnded, stats.legs),
        ("RolledOver", events.RolledOver, stats.rollovers),
    ):
        agree(name, sum(isinstance(each, kind) for each in seen), figure)
    agree(
        "ends that are resets",
        sum(isinstance(each, events.LegEnded) and each.resumes for each in seen),
        resets,
    )
    agree("bytes replayed", sum(each.bytes_replayed for each in resumed), stats.bytes_replayed)
    (whole,) = (span for span in spans if span.name.startswith("session"))
    said = own(whole.attributes)
    for name in ("legs", "attempts", "rollovers", "seconds_sent", "seconds_acknowledged"):
        agree(f"{name} of the span", said[name], getattr(stats, name))
    agree("resets of the span", [each.name for each in whole.events].count("reset"), resets)
    agree("spans of legs", len(spans) - 1, stats.legs)
    for metric, figure in (
        ("audio.sent.time", stats.seconds_sent),
        ("audio.acknowledged.time", stats.seconds_acknowledged),
        ("audio.replayed.time", stats.seconds_replayed),
        ("audio.lost.time", stats.seconds_lost),
        ("rollovers", stats.rollovers),
        ("legs", stats.legs),
        ("leg.open.duration", stats.legs),
        ("leg.resets", resets),
    ):
        agree(metric, round(metrics[metric], 6), round(figure, 6))


def read(reader: InMemoryMetricReader) -> dict[str, float]:
    """Every metric's sum, or its count."""
    found: dict[str, float] = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                name = metric.name.removeprefix(PREFIX)
                for point in metric.data.data_points:
                    value = point.count if hasattr(point, "count") else point.value
                    found[name] = found.get(name, 0) + value
    return found


# The picture ------------------------------------------------------------------------------------

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 900, 96, 20, 44, 34, 20
COLOURS = {"session": "#4c6ef5", "well": "#2b8a3e", "broken": "#c92a2a"}
MARKS = {
    "first_result": ("#087f5b", "first result"),
    "reset": ("#c92a2a", "reset"),
    "resumed": ("#e67700", "resumed"),
    "rolled_over": ("#5f3dc4", "rolled over"),
}


def draw(spans: list[ReadableSpan]) -> str:
    """Draw the spans as bars over time, with the session's span events as marks."""
    (whole,) = (span for span in spans if span.name.startswith("session"))
    legs = sorted(
        (span for span in spans if span is not whole), key=lambda span: span.start_time or 0
    )
    start, end = whole.start_time or 0, whole.end_time or 0
    height = TOP + ROW * (len(legs) + 1) + 64

    def x(at: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at - start) / (end - start)

    def bar(row: int, span: ReadableSpan, label: str, colour: str, about: str) -> str:
        left, right = x(span.start_time or 0), x(span.end_time or 0)
        y = TOP + ROW * row
        return (
            f'<text x="{LEFT - 10}" y="{y + 15}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{left:.1f}" y="{y}" width="{right - left:.1f}" height="{BAR}" rx="3" '
            f'fill="{colour}"/>'
            f'<text x="{left + 8:.1f}" y="{y + 14}" class="in">{escape(about)}</text>'
        )

    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="ui-sans-serif, system-ui, sans-serif" font-size="12">'
    )
    parts = [
        head,
        "<title>The trace of one session with two resets and a rollover</title>",
        "<style>text{fill:#212529}.in{fill:#fff}.faint{fill:#868e96}line{stroke:#dee2e6}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for second in range(int((end - start) / 1e9) + 1):
        at = x(start + second * 10**9)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{height - 50}"/>')
        parts.append(f'<text x="{at:.1f}" y="{TOP - 14}" text-anchor="middle" class="faint">')
        parts.append(f"{second} s</text>")
    said = own(whole.attributes)
    about = f"{said['seconds_sent']:.1f} s of audio, {said['seconds_acknowledged']:.1f} s final"
    parts.append(bar(0, whole, "session", COLOURS["session"], about))
    for row, leg in enumerate(legs, 1):
        facts = own(leg.attributes)
        broken = "error.type" in facts
        how = f"{facts['error.type']}" if broken else f"{facts['kind']}"
        role = "" if facts["role"] == "current" else f", {facts['role']}"
        colour = COLOURS["broken" if broken else "well"]
        parts.append(bar(row, leg, f"leg {facts['leg']}", colour, f"{how}{role}"))
    used = []
    for event in whole.events:
        if event.name in MARKS:
            colour, _ = MARKS[event.name]
            at = x(event.timestamp)
            parts.append(
                f'<path d="M{at:.1f} {TOP - 7}v{BAR + 12}" stroke="{colour}" stroke-width="2"/>'
                f'<circle cx="{at:.1f}" cy="{TOP - 7}" r="4" fill="{colour}"/>'
            )
            if event.name not in used:
                used.append(event.name)
    for place, name in enumerate(used):
        colour, label = MARKS[name]
        at = LEFT + 120 * place
        parts.append(f'<circle cx="{at}" cy="{height - 22}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{at + 10}" y="{height - 18}">{label}</text>')
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def show(event: events.Event, began: float) -> str:
    """One event as a line."""
    fields = {
        name: f"{value:.3f}" if isinstance(value, float) else value
        for name, value in events.fields_of(event).items()
        if name not in ("said", "totals", "request_id")
    }
    said = ", ".join(f"{name}={value}" for name, value in fields.items())
    return f"{event.time - began:7.3f}  {type(event).__name__}({said})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("out", type=Path, help="where to write the picture (SVG)")
    out = parser.parse_args().out
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = Telemetry(tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    seen: list[events.Event] = []
    log = Lines()
    logging.getLogger("deepgram_sagemaker.transport").addHandler(log)
    logging.getLogger("deepgram_sagemaker.transport").setLevel(logging.INFO)
    faults = [
        Fault(Reset(), when=AfterNewChunks(100)),
        Fault(Drop(), when=AfterNewChunks(200)),
    ]
    # Results are half a second late, so that there is something to send again.
    with LocalEndpoint(model=Watermark(late_chunks=25), faults=faults) as endpoint:
        factory = SageMakerTransportFactory(
            config=endpoint.config(max_leg_age=4.0), on_event=seen.append, telemetry=telemetry
        )
        asyncio.run(play(factory))
        stats = factory.stats
    spans = list(exporter.get_finished_spans())
    metrics = read(reader)
    check(stats, seen, spans, metrics)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(draw(spans))
    began = seen[0].time
    print("Events, by seconds since the first:\n")
    print("\n".join(show(each, began) for each in seen))
    print("\nLog:\n")
    print("\n".join(f"{at - began:7.3f}  {line}" for at, line in log.lines))
    print("\nMetrics (sums; of histograms the count):\n")
    print("\n".join(f"{name:32} {value:g}" for name, value in sorted(metrics.items())))
    print(f"\nFigures:\n\n{stats}\n\nAll views agree. The trace is in {out}.")


if __name__ == "__main__":
    main()
