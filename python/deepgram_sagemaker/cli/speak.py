"""`deepgram-sagemaker speak`: its options."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

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
        str, typer.Argument(help="What to say, or `-` for standard input.", show_default=False)
    ],
    endpoint_name: EndpointName,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help="The file to write, whose suffix says the form: .wav; .raw, .pcm or .s16 for "
            "linear16 without a header; .mulaw, .ulaw, .alaw; or `-` for a WAV file on standard "
            "output.",
            metavar="FILE",
        ),
    ],
    region: Region = None,
    endpoint_uri: EndpointUri = None,
    ca_bundle: CaBundle = None,
    profile: Profile = None,
    model: Annotated[str, typer.Option(help="Deepgram's voice.")] = "aura-2-thalia-en",
    param: Parameters = None,
) -> None:
    """Have a SageMaker endpoint speak a text, and write the audio to a file.

    Credentials come from boto3's default chain. The file is written when all of it was spoken. The
    exit status is 0 then, 1 if it failed, and 2 if the command cannot work as it was typed.
    """
    from .speaking import say
    from .speech_file import SpeechFile, SpeechFileError

    query = {"model": model} | parse_parameters(param or [])
    try:
        file = SpeechFile.of(output, query)
    except SpeechFileError as error:
        raise typer.BadParameter(str(error), param_hint="--output") from None
    path = None if output == _STANDARD else Path(output)
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
    finish(say(config, said, query | file.query, file, path))
