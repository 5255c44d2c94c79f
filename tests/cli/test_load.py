"""`load` as a person runs it, against endpoints that hold so many streams and no more."""

import asyncio
import json
import os
import re
import signal
import sys
import xml.etree.ElementTree as ET
from contextlib import suppress

import jsonschema
import pytest
from cli.commands import counted_wav, reaching, run
from deepgram_sagemaker.cli.fault_rules import parse_fault
from deepgram_sagemaker.load.report import schema
from deepgram_sagemaker.local import LocalEndpoint
from sessions import until

# What a busy machine may add to a lag that is not the test's subject.
CALM = ("--lag-limit", "20")


async def load(endpoint, *arguments, name="local", **options):
    reach, environment = reaching(endpoint)
    environment |= {"COLUMNS": "110"}
    return await run(
        "load", name, *reach[2:], *arguments, environment=environment, within=90, **options
    )


async def measured(endpoint, folder, *arguments, audio=("--watermark",), **options):
    """How a test ended, and its report."""
    path = folder / "report.json"
    ran = await load(endpoint, *audio, "-o", path, *arguments, **options)
    report = json.loads(path.read_text()) if path.exists() else None
    if report is not None:
        jsonschema.validate(report, schema())
    return ran, report


@pytest.mark.patience(120)
async def test_an_endpoint_with_room_for_150_streams_is_found_to_hold_150(tmp_path):
    page = tmp_path / "report.html"
    with LocalEndpoint(max_streams=150) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 200, "--step", 40, "--ramp", 30, "--duration", 5, *CALM, "-o", page),
        )
        assert there.stats.most_live_streams == 150
    assert ran.status == 1, ran.err
    verdict = report["verdict"]
    assert (verdict["streams"], verdict["exact"], verdict["holds"]) == (150, True, False)
    assert verdict["outcome"] == "refused"
    sentence = "local holds 150 streams: the 151st was refused (424 ModelError"
    assert verdict["sentence"].startswith(sentence)
    assert sentence in " ".join(ran.out.split())
    assert [step["streams"] for step in report["steps"]] == [40, 80, 120, 160]
    *held, last = report["steps"]
    for step in held:
        assert step["outcome"] == "held", step
        assert step["live"] == step["streams"]
        assert step["opened"] == 40
    assert (last["live"], last["opened"]) == (150, 30)
    # Each of the ten is refused at least once, and tries again as sessions do.
    assert last["refused"]["424 ModelError"] >= 10
    total = report["total"]
    assert total["finished"] == 150
    assert total["opened"] == 150
    assert not total["cut"]
    # Every chunk that was sent came back once.
    assert (total["chunks_missing"], total["chunks_repeated"], total["seconds_lost"]) == (0, 0, 0)
    sent = sum(row["chunks"] for row in report["timeline"]) + report["ending"]["chunks"]
    assert sent == total["chunks"] > 150 * 50 * 3
    assert max(row["live"] for row in report["timeline"]) == 150
    check_page(page, verdict["sentence"])


def check_page(path, sentence):
    text = path.read_text()
    assert sentence in text
    # Nothing is fetched, and nothing runs.
    assert not re.search(r"<script|@import|<link|src=|url\((?!#)", text)
    assert not re.search(r'href="(?!#)', text)
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 5
    identities = [each for svg in drawings for each in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(identities) == len(set(identities))
    for svg in drawings:
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        # The knee and the axes are text, in the page's colours.
        assert not re.search(r"(fill|stroke): ?#", svg)
    assert "150" in re.findall(r">([^<]+)</text>", drawings[0])


async def test_an_endpoint_with_room_for_20_streams_is_searched(tmp_path):
    with LocalEndpoint(max_streams=20) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 30, "--step", 6, "--ramp", 15, "--find", "--stream-duration", 4, *CALM),
        )
    assert ran.status == 1, ran.err
    assert (report["verdict"]["streams"], report["verdict"]["exact"]) == (20, True)
    # And that 20 go on is seen once more, with streams that are replaced meanwhile.
    last = report["steps"][-1]
    assert (last["name"], last["streams"], last["outcome"]) == ("confirm", 20, "held")
    assert report["total"]["opened"] > 30
    assert report["total"]["chunks_missing"] == 0


async def test_an_endpoint_with_room_for_all(tmp_path):
    with LocalEndpoint() as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 12, "--steps", 2, "--ramp", 4, "--duration", 3, "--json", *CALM),
        )
    assert ran.status == 0, ran.err
    assert json.loads(ran.out) == report
    assert report["verdict"] == {
        "outcome": "held",
        "holds": True,
        "streams": 12,
        "exact": False,
        "stopped": False,
        "sentence": "local holds 12 streams",
    }
    assert [(each["name"], each["streams"]) for each in report["steps"]] == [
        ("up", 6),
        ("up", 12),
        ("hold", 12),
    ]
    assert report["total"]["first_result"]["count"] == 12
    assert report["total"]["opening"]["count"] == 12
    # What it will do and cost is said before.
    assert "Streams: up to 12: 2 steps, each of 2 s, then 3 s with all of them" in ran.err
    assert "Cost: 1.2 minutes of audio if every step holds" in ran.err
    assert "\x1b" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("answer", "outcome", "kinds"),
    [
        ("status=403 error-type=ExpiredTokenException", "failed", {"403 ExpiredTokenException"}),
        ("status=403 error-type=AccessDeniedException", "failed", {"403 AccessDeniedException"}),
        ("status=400 error-type=ValidationException", "failed", {"400 ValidationException"}),
        ("status=500 error-type=InternalServerError", "unreachable", {"500 InternalServerError"}),
        ("status=400 error-type=ThrottlingException", "refused", {"400 ThrottlingException"}),
        ("status=503 error-type=ServiceUnavailable", "refused", {"503 ServiceUnavailable"}),
    ],
)
async def test_only_what_says_that_there_is_no_room_is_a_limit(tmp_path, answer, outcome, kinds):
    """From the fifth stream on: one is the probe."""
    faults = [parse_fault(f"answer {answer} legs=5-99 times=always")]
    with LocalEndpoint(faults=faults) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 8, "--step", 4, "--ramp", 12, "--duration", 30, *CALM),
            *("--setting", "max_retries=1"),
        )
    assert ran.status == 1, ran.err
    assert report["verdict"]["outcome"] == outcome
    assert report["verdict"]["exact"] == (outcome == "refused")
    last = report["steps"][-1]
    if outcome == "failed":
        assert (set(last["failed"]), last["refused"], last["unreachable"]) == (kinds, {}, {})
        assert "failed for good" in report["verdict"]["sentence"]
        # Not at the end of the second step.
        assert len(report["timeline"]) < 12
    else:
        assert set(last[outcome]) == kinds


def result_until(end):
    """A final result on the half second of audio that ends there."""
    return json.dumps(
        {
            "type": "Results",
            "channel_index": [0, 1],
            "start": end - 0.5,
            "duration": 0.5,
            "is_final": True,
            "channel": {"alternatives": [{"transcript": "", "confidence": 1, "words": []}]},
            "metadata": {},
        }
    )


def slow_with(busy, seconds):
    """A model that answers each half second of audio; with more than `busy` streams, late."""
    streams = set()

    async def answer(stream, until):
        await asyncio.sleep(seconds if len(streams) > busy else 0)
        with suppress(Exception):
            await stream.send(result_until(until))

    async def model(stream):
        streams.add(stream)
        heard, answers, last = 0, [], 0
        try:
            async for message in stream:
                if isinstance(message, str) and json.loads(message)["type"] == "CloseStream":
                    break
                if isinstance(message, bytes):
                    heard += len(message)
                    while heard >= (last + 1) * 16_000:
                        last += 1
                        answers.append(asyncio.create_task(answer(stream, last * 0.5)))
            await asyncio.gather(*answers)
            await stream.send(json.dumps({"type": "Metadata", "duration": heard / 32_000}))
        finally:
            streams.discard(stream)
            for each in answers:
                each.cancel()
            await asyncio.gather(*answers, return_exceptions=True)

    return model


@pytest.mark.patience(90)
async def test_an_endpoint_that_answers_late_beyond_30_streams(tmp_path):
    recording = counted_wav(tmp_path / "speech.wav")
    # Nothing waits for seconds unless the model does.
    async with LocalEndpoint(model=slow_with(30, 3.0)) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 60, "--step", 20, "--ramp", 18, "--lag-limit", 2),
            audio=("--audio", recording),
        )
    assert ran.status == 1, ran.err
    verdict = report["verdict"]
    assert (verdict["outcome"], verdict["streams"], verdict["exact"]) == ("lag", 20, False)
    said = r"local holds 20 streams: with 40, lag p95 \d+\.\d+ s, above 2\.00 s"
    assert re.match(said, verdict["sentence"])
    assert [step["outcome"] for step in report["steps"]] == ["held", "lag"]


async def test_results_that_all_come_after_the_step(tmp_path):
    with LocalEndpoint(faults=[parse_fault("late seconds=6 times=always")]) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 4, "--steps", 1, "--ramp", 4, "--duration", 0, *CALM),
        )
    assert ran.status == 1, ran.err
    assert report["steps"][0]["lag"]["count"] == 0
    assert report["verdict"]["outcome"] == "short"
    assert report["verdict"]["sentence"] == (
        "local is not tested yet: with 4, no result came within 2 s: the step is too short"
    )


async def test_results_that_stop_coming(tmp_path):
    """Long before a stream counts as silent."""

    async def model(stream):
        heard = said = 0
        async for message in stream:
            if isinstance(message, str) and json.loads(message)["type"] == "CloseStream":
                break
            if isinstance(message, bytes):
                heard += len(message)
            # The first two seconds, a half at a time.
            while said < 4 and heard >= (said + 1) * 16_000:
                said += 1
                await stream.send(result_until(said * 0.5))
        await stream.send(json.dumps({"type": "Metadata", "duration": heard / 32_000}))

    recording = counted_wav(tmp_path / "speech.wav")
    async with LocalEndpoint(model=model) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 4, "--steps", 1, "--ramp", 8, "--duration", 0, "--lag-limit", 2),
            audio=("--audio", recording),
        )
    assert ran.status == 1, ran.err
    assert report["verdict"]["outcome"] == "lag"
    assert report["steps"][0]["reason"].startswith("results that have not come are late: p95 ")


async def test_audio_that_is_lost_is_reported(tmp_path):
    """A reset of each stream, with nothing kept to send again."""
    with LocalEndpoint(faults=[parse_fault("reset after-audio=1.5 legs=2-5")]) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 4, "--steps", 1, "--ramp", 4, "--duration", 0, *CALM),
            *("--setting", "max_replay_buffer_bytes=0"),
        )
    assert ran.status == 1, ran.err
    assert report["verdict"]["outcome"] == "lost"
    assert report["total"]["seconds_lost"] > 0
    assert report["total"]["chunks_missing"] > 0
    assert report["total"]["resets"] == {"reset": 4}
    assert "s of audio lost" in ran.out


async def test_resets_that_cost_nothing_are_no_failure(tmp_path):
    with LocalEndpoint(faults=[parse_fault("reset after-audio=1.5 legs=2-5")]) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 4, "--steps", 1, "--ramp", 4, "--duration", 0, *CALM),
        )
    assert ran.status == 0, ran.err
    assert report["total"]["resets"] == {"reset": 4}
    assert report["total"]["chunks_missing"] == 0


async def test_flux(tmp_path):
    with LocalEndpoint() as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 4, "--steps", 1, "--ramp", 4, "--duration", 0, "--flux", *CALM),
        )
    assert ran.status == 0, ran.err
    assert report["asked"]["path"] == "v2/listen"
    assert report["total"]["lag_final"]["count"] > 0
    assert report["total"]["lag_interim"]["count"] > 0
    assert report["total"]["chunks_missing"] == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to one process")
@pytest.mark.parametrize(
    ("workers", "number", "status"),
    [("1", signal.SIGINT, 130), ("2", signal.SIGINT, 130), ("1", signal.SIGTERM, 143)],
)
async def test_a_signal_ends_the_streams_in_order(tmp_path, workers, number, status):
    with LocalEndpoint() as there:

        async def stop(process):
            await until(lambda: there.stats.accepted >= 5, within=30)
            await asyncio.sleep(0.5)
            process.send_signal(number)

        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 8, "--steps", 1, "--ramp", 8, "--duration", 600, *CALM),
            *("--workers", workers),
            stop=stop,
        )
        await until(lambda: there.stats.live_streams == 0)
    assert ran.status == status, ran.err
    assert report["verdict"]["stopped"]
    assert not report["verdict"]["holds"]
    total = report["total"]
    assert total["finished"] == total["opened"] > 0
    assert total["cut"] == 0
    assert total["chunks_missing"] == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to one process")
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_second_ctrl_c_ends_it_at_once(tmp_path, workers):
    """With an endpoint that takes half a minute to end a stream, from the third on."""
    took, begun = [], []

    async def model(stream):
        begun.append(stream)
        is_slow = len(begun) > 2
        async for message in stream:
            if isinstance(message, str) and json.loads(message)["type"] == "CloseStream":
                await asyncio.sleep(30 if is_slow else 0)
                # As much as is ever sent.
                await stream.send(json.dumps({"type": "Metadata", "duration": 600.0}))
                return

    with LocalEndpoint(model=model) as there:

        async def stop(process):
            await until(lambda: len(begun) >= 4, within=60)
            process.send_signal(signal.SIGINT)
            loop = asyncio.get_running_loop()
            began = loop.time()
            await asyncio.sleep(1.0)
            assert process.returncode is None
            process.send_signal(signal.SIGINT)
            await process.wait()
            took.append(loop.time() - began)

        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 6, "--steps", 1, "--ramp", 4, "--duration", 600, *CALM),
            *("--workers", workers),
            *("--setting", "close_timeout=60"),
            stop=stop,
        )
        await until(lambda: there.stats.live_streams == 0)
    assert (ran.status, report) == (130, None)
    assert took[0] < 12


async def test_processes_share_the_streams(tmp_path):
    with LocalEndpoint(max_streams=15) as there:
        ran, report = await measured(
            there,
            tmp_path,
            *("--streams", 20, "--step", 5, "--ramp", 12, *CALM, "--workers", 2),
        )
    assert ran.status == 1, ran.err
    assert (report["verdict"]["streams"], report["verdict"]["exact"]) == (15, True)
    assert report["workers"] == {"kind": "2 processes", "lost": []}
    assert report["total"]["chunks_missing"] == 0


async def test_an_endpoint_that_cannot_be_used(tmp_path):
    with LocalEndpoint() as there:
        ran, report = await measured(there, tmp_path, "--streams", 4, name="another")
    assert ran.status == 1
    assert ran.out.startswith("another cannot be tested: ")
    assert report["verdict"]["outcome"] == "failed"
    assert (report["steps"], report["verdict"]["streams"]) == ([], 0)


async def test_a_report_is_written_whoever_reads_the_table(tmp_path):
    with LocalEndpoint() as there:
        options, environment = reaching(there)
        reading, writing = os.pipe()
        os.close(reading)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deepgram_sagemaker", "load", "local", *options[2:]),
            *("--watermark", "--streams", "2", "--steps", "1", "--ramp", "2", "--duration", "0"),
            *("--lag-limit", "20", "-o", str(tmp_path / "report.json")),
            stdout=writing,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | environment,
        )
        os.close(writing)
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1, errors
    assert json.loads((tmp_path / "report.json").read_text())["verdict"]["holds"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--step", 2, "--steps", 2), "exclude each other"),
        (("--workers", "many"), "must be a number, `ray` or"),
        (("--workers", 0), "must be a number, `ray` or"),
        (("--workers", "ray:0"), "must be a number, `ray` or"),
        (("-o", "report.txt"), "a report is .json or .html"),
        (("-o", "nowhere/report.json"), "is not a folder"),
        (("--audio", __file__), "test_load.py: "),
        (("--param", "model"), "must be NAME=VALUE"),
        (("--setting", "region=here"), "region: must be one of"),
        (("--setting", "max_retries=-1"), "max_retries=-1"),
    ],
)
async def test_mistakes_are_told_before_anything_is_sent(tmp_path, arguments, said):
    with LocalEndpoint() as there:
        ran = await load(there, "--streams", 4, *arguments, cwd=tmp_path)
        assert there.stats.accepted == 0
    assert ran.status == 2
    assert said in ran.said
