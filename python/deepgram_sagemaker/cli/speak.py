"""`deepgram-sagemaker speak`: its options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from deepgram_sagemaker.conversations.query import AURA, FLUX_TTS

from .options import (
    CaBundle,
    EndpointName,
    EndpointUri,
    Parameters,
    Profile,
    Region,
    configure,
    need_standard_input,
    parse_parameters,
)
from .outcome import finish

__all__ = ["speak"]

_STANDARD = "-"


def speak(
    text: Annotated[
        str,
        typer.Argument(
            help="What to say, or `-` for standard input.", metavar="TEXT", show_default=False
        ),
    ],
    endpoint_name: EndpointName,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="The file to write, whose suffix says the form: .wav; .raw, .pcm or .s16 for "
            "linear16 without a header; .mulaw, .ulaw, .alaw; or `-` for a WAV file on standard "
            "output.",
            metavar="FILE",
        ),
    ] = None,
    play: Annotated[
        bool,
        typer.Option("--play", help="Play it on the loudspeaker as it arrives (extra `audio`)."),
    ] = False,
    region: Region = None,
    endpoint_uri: EndpointUri = None,
    ca_bundle: CaBundle = None,
    profile: Profile = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Deepgram's voice; {AURA}, or with --flux {FLUX_TTS}, if not given.",
        ),
    ] = None,
    flux: Annotated[
        bool, typer.Option("--flux", help="Use `v2/speak`, for the voices of Flux TTS.")
    ] = False,
    param: Parameters = None,
) -> None:
    """Have a SageMaker endpoint speak a text, to a file, the loudspeaker, or both.

    Credentials come from boto3's default chain. The file is written when all of it was spoken. The
    exit status is 0 then, 1 if it failed, and 2 if the command cannot work as it was typed.
    """
    from deepgram_sagemaker.conversations.speech_file import PLAYED, SpeechFile, SpeechFileError

    from .speaking import Target, say

    if output is None and not play:
        raise typer.BadParameter("give --output, --play, or both", param_hint="--output")
    query = {"model": model or (FLUX_TTS if flux else AURA)} | parse_parameters(param or [])
    try:
        file = SpeechFile.of(output or _STANDARD, query)
    except SpeechFileError as error:
        hint = "--param" if output is None else "--output"
        raise typer.BadParameter(str(error), param_hint=hint) from None
    if play and file.encoding != PLAYED:
        raise typer.BadParameter(
            f"the loudspeaker plays {PLAYED}, and this would be {file.encoding}",
            param_hint="--play",
        )
    path = None if output is None or output == _STANDARD else Path(output)
    if path is not None and not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"{path.parent} is no folder", param_hint="--output")
    if text == _STANDARD:
        need_standard_input()
    try:
        # Bytes that are no text would otherwise pass as surrogates, here and as an argument.
        data = sys.stdin.buffer.read() if text == _STANDARD else os.fsencode(text)
        said = data.decode()
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="TEXT") from None
    if not said.strip():
        raise typer.BadParameter("there is no text", param_hint="TEXT")
    config = configure(
        endpoint_name, region, endpoint_uri=endpoint_uri, ca_bundle=ca_bundle, profile=profile
    )
    target = Target(file, path, to_standard_output=output == _STANDARD, play=play)
    finish(say(config, said, query | file.query, target, flux=flux))
