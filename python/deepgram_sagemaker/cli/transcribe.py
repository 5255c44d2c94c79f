"""`deepgram-sagemaker transcribe`: its options, and what it says and returns."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from deepgram_sagemaker.conversations.query import FLUX, NOVA

from .options import (
    CaBundle,
    EndpointName,
    EndpointUri,
    Flux,
    ListenModel,
    Parameters,
    Profile,
    Region,
    configure,
    need_standard_input,
    parse_parameters,
)
from .outcome import finish

__all__ = ["transcribe"]


def transcribe(
    endpoint_name: EndpointName,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            help="WAV files, files that ffmpeg reads, or `-` for standard input.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    mic: Annotated[
        bool,
        typer.Option("--mic", help="Listen to the microphone until Ctrl-C (extra `audio`)."),
    ] = False,
    region: Region = None,
    endpoint_uri: EndpointUri = None,
    ca_bundle: CaBundle = None,
    profile: Profile = None,
    model: ListenModel = None,
    flux: Flux = False,
    param: Parameters = None,
    speed: Annotated[
        float,
        typer.Option(
            metavar="TIMES", help="Speed of each stream, in times real time.", min=0.1, max=100.0
        ),
    ] = 1.0,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            "-j",
            metavar="COUNT",
            help="Files to stream at the same time.",
            min=1,
            max=500,
        ),
    ] = 4,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a line of JSON for each result.")
    ] = False,
    srt: Annotated[bool, typer.Option("--srt", help="Write SubRip subtitles.")] = False,
    vtt: Annotated[bool, typer.Option("--vtt", help="Write WebVTT subtitles.")] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to a file, whose suffix says the form; or to a folder, a file for each "
            "recording.",
            metavar="FILE|DIR/",
        ),
    ] = None,
) -> None:
    """Stream recordings or the microphone to a SageMaker endpoint and show the transcripts.

    Credentials come from boto3's default chain. Transcripts go to standard output, and what is
    said about them to standard error. The exit status is 0 if every recording was transcribed
    without loss, 1 if one was not, and 2 if the command cannot work as it was typed.
    """
    from deepgram_sagemaker.conversations.recording import Recording

    from .destinations import STANDARD_INPUT, DestinationError, destinations
    from .microphone import MICROPHONE, MICROPHONE_QUERY, microphone
    from .transcribing import Job, transcribe_all
    from .transcripts import Format

    asked = ((as_json, Format.JSON), (srt, Format.SRT), (vtt, Format.VTT))
    if mic is bool(files):
        raise typer.BadParameter("give recordings, or --mic", param_hint="FILE")
    names = [MICROPHONE] if mic else files or []
    if names.count(STANDARD_INPUT) > 1:
        raise typer.BadParameter("standard input can be read once", param_hint="FILE")
    if STANDARD_INPUT in names:
        need_standard_input()
    for each in [] if mic else names:
        if each != STANDARD_INPUT and not Path(each).exists():
            raise typer.BadParameter(f"{each} does not exist", param_hint="FILE")
        if Path(each).is_dir():
            raise typer.BadParameter(f"{each} is a folder", param_hint="FILE")
    try:
        targets = destinations(names, [form for wanted, form in asked if wanted], output)
    except (DestinationError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="--output") from None
    query: dict[str, str | list[str]] = {"model": model or (FLUX if flux else NOVA)}
    if not flux:
        query |= {"smart_format": "true", "interim_results": "true"}
    query |= parse_parameters(param or [])
    if mic:
        if query.keys() & MICROPHONE_QUERY.keys():
            raise typer.BadParameter("the microphone has its own encoding", param_hint="--param")
        query |= MICROPHONE_QUERY
    if not isinstance(query["model"], str):
        raise typer.BadParameter("model: one is needed", param_hint="--param")
    config = configure(
        endpoint_name, region, endpoint_uri=endpoint_uri, ca_bundle=ca_bundle, profile=profile
    )

    def opened(name: str) -> Recording:
        if mic:
            return microphone()
        if name == STANDARD_INPUT:
            return Recording.standard_input(query)
        return Recording.open(Path(name), query)

    work = [
        Job(name, partial(opened, name), target)
        for name, target in zip(names, targets, strict=True)
    ]
    finish(transcribe_all(config, work, query, speed=speed, flux=flux, jobs=jobs))
