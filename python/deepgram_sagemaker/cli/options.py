"""Options that name the endpoint and Deepgram's parameters, and what they make."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepgram_sagemaker.config import REGION_OF_BOTO3, SageMakerConfig
from deepgram_sagemaker.conversations.query import FLUX, NOVA
from deepgram_sagemaker.errors import SageMakerError

from .completions import profiles, regions

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "CaBundle",
    "EndpointName",
    "EndpointUri",
    "Flux",
    "ListenModel",
    "Parameters",
    "Profile",
    "Region",
    "configure",
    "find_region",
    "need_standard_input",
    "parse_parameters",
]

EndpointName = Annotated[
    str, typer.Option("--endpoint-name", "-e", metavar="NAME", help="The SageMaker endpoint.")
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="REGION",
        help="Its region, instead of the one that boto3 finds.",
        show_default=False,
        autocompletion=regions,
    ),
]
EndpointUri = Annotated[
    str | None,
    typer.Option(
        metavar="URI", help="Where to connect instead of the region's host, for PrivateLink."
    ),
]
CaBundle = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A PEM file of authorities to trust instead of the system's.",
        exists=True,
        dir_okay=False,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="The AWS profile whose credentials to use.", autocompletion=profiles
    ),
]
ListenModel = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help=f"Deepgram's model; {NOVA}, or with --flux {FLUX}, if not given."
    ),
]
Flux = Annotated[bool, typer.Option("--flux", help="Use `v2/listen`, which hears turns.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        help="A parameter of Deepgram's, such as `language=de`. Several may be given, also with "
        "the same name.",
        metavar="NAME=VALUE",
    ),
]


def need_standard_input() -> None:
    """Check that something is piped into standard input.

    Raises:
        typer.BadParameter: It is closed, or a terminal.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise typer.BadParameter("nothing is piped into standard input", param_hint="-")


def parse_parameters(entries: Iterable[str], option: str = "--param") -> dict[str, str | list[str]]:
    """Return the query that `NAME=VALUE` entries make. A repeated name has a list of values.

    Args:
        entries: The entries.
        option: The option that they were given with.

    Raises:
        typer.BadParameter: An entry has another form.
    """
    found: dict[str, list[str]] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{entry}: must be NAME=VALUE", param_hint=option)
        found.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


def find_region(given: str | None, session: Any) -> tuple[str, str] | None:  # noqa: ANN401 - boto3 has no types
    """Return the region by the rule of all commands, and what names it; None: nothing does.

    It is the given one, else the one that boto3 finds, else `AWS_REGION`, which boto3 does not
    read.

    Args:
        given: What was typed; None or `auto`: nothing.
        session: The boto3 session; None: the shared files cannot be read.
    """
    named = (
        (None if given == REGION_OF_BOTO3 else given, "--region"),
        (os.environ.get("AWS_DEFAULT_REGION"), "AWS_DEFAULT_REGION"),
        (None if session is None else session.region_name, "the profile"),
        (os.environ.get("AWS_REGION"), "AWS_REGION"),
    )
    return next(((region, source) for region, source in named if region), None)


def configure(
    endpoint_name: str,
    region: str | None,
    *,
    endpoint_uri: str | None,
    ca_bundle: Path | None,
    profile: str | None,
) -> SageMakerConfig:
    """Return the settings that the options make.

    Raises:
        typer.BadParameter: An option breaks its rule, AWS's files have no such profile, or there
            is no region.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(profile_name=profile)
        config = SageMakerConfig(
            endpoint_name,
            region or REGION_OF_BOTO3,
            endpoint_uri=endpoint_uri,
            ca_bundle=ca_bundle,
            boto3_session=session if profile else None,
        )
        found = find_region(region, session)
        if found is not None:
            return dataclasses.replace(config, region=found[0])
    except (SageMakerError, BotoCoreError) as error:
        raise typer.BadParameter(str(error)) from None
    from deepgram_sagemaker.doctor import NAME_A_REGION, NO_REGION

    raise typer.BadParameter(f"{NO_REGION}: {NAME_A_REGION}", param_hint="--region")
