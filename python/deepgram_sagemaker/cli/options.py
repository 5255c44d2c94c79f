"""Options that name the endpoint and Deepgram's parameters, and what they make."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.errors import SageMakerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "CaBundle",
    "EndpointName",
    "EndpointUri",
    "Parameters",
    "Profile",
    "Query",
    "Region",
    "configure",
    "need_standard_input",
    "parse_parameters",
]

type Query = Mapping[str, str | list[str]]

EndpointName = Annotated[str, typer.Option("--endpoint-name", "-e", help="The SageMaker endpoint.")]
Region = Annotated[str, typer.Option(help="Its region; `auto`: the one that boto3 finds.")]
EndpointUri = Annotated[
    str | None,
    typer.Option(help="Where to connect instead of the region's host, for PrivateLink."),
]
CaBundle = Annotated[
    Path | None,
    typer.Option(
        help="A PEM file of authorities to trust instead of the system's.",
        exists=True,
        dir_okay=False,
    ),
]
Profile = Annotated[str | None, typer.Option(help="The AWS profile whose credentials to use.")]
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


def parse_parameters(entries: Iterable[str]) -> dict[str, str | list[str]]:
    """Return the query that `NAME=VALUE` entries make. A repeated name has a list of values.

    Raises:
        typer.BadParameter: An entry has another form.
    """
    found: dict[str, list[str]] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{entry}: must be NAME=VALUE", param_hint="--param")
        found.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


def configure(
    endpoint_name: str,
    region: str,
    *,
    endpoint_uri: str | None,
    ca_bundle: Path | None,
    profile: str | None,
) -> SageMakerConfig:
    """Return the settings that the options make.

    Raises:
        typer.BadParameter: An option breaks its rule, or AWS's files have no such profile.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(profile_name=profile) if profile else None
        return SageMakerConfig(
            endpoint_name,
            region,
            endpoint_uri=endpoint_uri,
            ca_bundle=ca_bundle,
            boto3_session=session,
        )
    except (SageMakerError, BotoCoreError) as error:
        raise typer.BadParameter(str(error)) from None
