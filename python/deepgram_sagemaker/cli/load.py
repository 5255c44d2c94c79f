"""`deepgram-sagemaker load`: its options, and what they ask for."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.conversations.query import FLUX, NOVA
from deepgram_sagemaker.conversations.reasons import reason_of
from deepgram_sagemaker.errors import SageMakerError

from .options import (
    CaBundle,
    EndpointUri,
    Flux,
    ListenModel,
    Parameters,
    Profile,
    Region,
    configure,
    parse_parameters,
)
from .outcome import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepgram_sagemaker.load.audio import Piece

__all__ = ["load"]

_STEPS = 10
# Two weeks, in seconds.
_LONGEST = 1_209_600.0
_OF_AUDIO = {"encoding", "sample_rate", "channels"}
# What the other options do not say, and what the number of streams does not decide.
_SETTINGS = {each.name for each in dataclasses.fields(SageMakerConfig)} - {
    *("endpoint_name", "region", "endpoint_uri", "ca_bundle", "boto3_session", "fallbacks"),
    *("content_type", "accept_type", "max_concurrency"),
}


def load(
    endpoint_name: Annotated[
        str, typer.Argument(help="The SageMaker endpoint.", metavar="ENDPOINT")
    ],
    streams: Annotated[
        int,
        typer.Option(metavar="COUNT", help="The most live streams at once.", min=1, max=100_000),
    ],
    ramp: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Time in which their number goes up, in steps.",
            min=0.0,
            max=_LONGEST,
        ),
    ] = 60.0,
    duration: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Time for which all of them stay; 0: not at all.",
            min=0.0,
            max=_LONGEST,
        ),
    ] = 60.0,
    step: Annotated[
        int | None,
        typer.Option(metavar="COUNT", help="Streams that each step adds.", min=1),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(metavar="COUNT", help=f"Steps instead; {_STEPS} if not given.", min=1),
    ] = None,
    stream_duration: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Length of each stream, which is then replaced; the whole test if not given.",
            min=1.0,
        ),
    ] = None,
    audio: Annotated[
        list[Path] | None,
        typer.Option(
            "--audio",
            "-a",
            metavar="FILE",
            help="A recording to send over and over. Several may be given; streams take them in "
            "turn. Without one, the speech of the extra `local`.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    watermark: Annotated[
        bool,
        typer.Option(
            "--watermark",
            help="Send chunks that are counted. Only `local --model watermark` hears them.",
        ),
    ] = False,
    region: Region = None,
    endpoint_uri: EndpointUri = None,
    ca_bundle: CaBundle = None,
    profile: Profile = None,
    model: ListenModel = None,
    flux: Flux = False,
    param: Parameters = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A field of `SageMakerConfig`, such as `max_retries=0`: sessions are to have the "
            "settings that yours have. Several may be given.",
        ),
    ] = None,
    lag_limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="The most that the 95th percentile of the results' lag may be. If not given: a "
            "second above the first step's, and at most five.",
            min=0.001,
        ),
    ] = None,
    find: Annotated[
        bool,
        typer.Option(
            "--find", help="After a step that did not hold, search between it and the one before."
        ),
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Go on up after a step that did not hold."),
    ] = False,
    workers: Annotated[
        str,
        typer.Option(
            metavar="COUNT|ray[:COUNT]",
            help="What holds the streams: 1, this process; more, that many processes of this "
            "machine; `ray`, an actor for each processor of the cluster (extra `ray`).",
        ),
    ] = "1",
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the report: `.json`, or `.html` (extra `load`). Several may be given.",
            dir_okay=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON instead of a table.")
    ] = False,
) -> None:
    """Find out how many live streams an endpoint holds.

    The number of streams goes up in steps, and each step is judged: whether all streams opened,
    none failed, no audio was lost, and results came in time. The audio costs what it costs in any
    other session. The exit status is 0 if the endpoint holds all streams that were asked for, and 1
    if it does not.
    """
    from deepgram_sagemaker.load.audio import AudioError
    from deepgram_sagemaker.load.plan import Plan
    from deepgram_sagemaker.load.spec import Spec
    from deepgram_sagemaker.load.verdict import Limits

    from .loading import WritingError, check_outputs, crew_of, run_test

    if step is not None and steps is not None:
        raise typer.BadParameter("--step and --steps exclude each other", param_hint="--steps")
    if watermark and audio:
        raise typer.BadParameter("--watermark has its own audio", param_hint="--audio")
    outputs = list(dict.fromkeys(output or []))
    try:
        check_outputs(outputs)
    except WritingError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from None
    query: dict[str, str | list[str]] = {"model": model or (FLUX if flux else NOVA)}
    if not flux and not watermark:
        query |= {"smart_format": "true", "interim_results": "true"}
    query |= parse_parameters(param or [])
    if not isinstance(query["model"], str):
        raise typer.BadParameter("model: one is needed", param_hint="--param")
    config = configure(
        endpoint_name, region, endpoint_uri=endpoint_uri, ca_bundle=ca_bundle, profile=profile
    )
    settings = _settings(config, setting or [])
    try:
        pieces = asyncio.run(_pieces(audio or [], query, watermark=watermark))
    except AudioError as error:
        raise typer.BadParameter(str(error), param_hint="--audio") from None
    limits = Limits(lag=lag_limit)
    plan = Plan(
        streams=streams,
        ramp=ramp,
        duration=duration,
        step=min(streams, step or math.ceil(streams / (steps or _STEPS))),
        steps=None if step is not None else steps or _STEPS,
        find=find,
        keep_going=keep_going,
    )
    spec = Spec(
        endpoint_name=endpoint_name,
        region=config.region,
        endpoint_uri=endpoint_uri,
        ca_bundle=None if ca_bundle is None else str(ca_bundle),
        profile=profile,
        # The audio says these itself.
        query={name: query[name] for name in query if name not in _OF_AUDIO},
        flux=flux,
        pieces=pieces,
        streams=streams,
        stream_duration=stream_duration,
        silence=limits.silence,
        settings=settings,
    )
    try:
        crew, named = crew_of(workers, spec)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--workers") from None
    status = run(
        run_test(plan, spec, limits, crew, workers=named, outputs=outputs, as_json=as_json)
    )
    raise typer.Exit(status)


def _settings(config: SageMakerConfig, entries: Sequence[str]) -> dict[str, Any]:
    """Return fields of the config by name.

    Raises:
        typer.BadParameter: There is no such field, another option has it, or it breaks its rule.
    """
    found: dict[str, Any] = {}
    for name, value in parse_parameters(entries, "--setting").items():
        if name not in _SETTINGS or not isinstance(value, str):
            raise typer.BadParameter(
                f"{name}: must be one of {', '.join(sorted(_SETTINGS))}, once",
                param_hint="--setting",
            )
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    try:
        dataclasses.replace(config, **found)
    except SageMakerError as error:
        raise typer.BadParameter(str(error), param_hint="--setting") from None
    return found


async def _pieces(
    audio: Sequence[Path], query: dict[str, str | list[str]], *, watermark: bool
) -> list[Piece]:
    """Return the audio.

    Raises:
        AudioError: It cannot be streamed, or there is none.
    """
    from deepgram_sagemaker.load.audio import AudioError, read, watermarked

    if watermark:
        return [watermarked()]
    if not audio:
        try:
            from deepgram_sagemaker.local.speech.sample import two_cities

            audio = [two_cities()]
        except ImportError:
            raise AudioError(
                "give a recording of speech, such as one of your calls: silence makes an endpoint "
                "work less. The extra `local` has one."
            ) from None
    try:
        return await read(audio, query)
    except OSError as error:
        raise AudioError(reason_of(error)) from None
