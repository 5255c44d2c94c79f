"""`deepgram-sagemaker doctor`: makes the checks and prints what they find."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from deepgram_sagemaker.config import SageMakerConfig
from deepgram_sagemaker.doctor import CHECKS, PRODUCTS, Case, Finding, State, examine

from .options import find_region

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

__all__ = ["Wanted", "case_of", "diagnose"]

# Settings have a region. Where none was found, no check that depends on it is made.
_STAND_IN: Final = "us-east-1"
_STYLES: Final = {State.OK: "green", State.FAILED: "bold red", State.SKIPPED: "yellow"}
_STATE_WIDTH: Final = max(len(state) for state in State) + 2
_NAME_WIDTH: Final = max(len(check.name) for check in CHECKS) + 2
_ADVICE: Final = "What to do: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What was typed.

    Attributes:
        endpoint_name: The endpoint.
        region: Its region; None or `auto`: boto3's rule.
        profile: The AWS profile; None: the environment's.
        endpoint_uri: Where to connect instead of the region's host.
        ca_bundle: The authorities to trust instead of the system's.
        target_variant: The variant to invoke.
        product: A name of `PRODUCTS`.
        model: The model; None: the product's usual one.
        within: Seconds that one step may take.
    """

    endpoint_name: str
    region: str | None
    profile: str | None
    endpoint_uri: str | None
    ca_bundle: Path | None
    target_variant: str | None
    product: str
    model: str | None
    within: float


def case_of(wanted: Wanted) -> Case:
    """Return what is to be examined. May read the shared AWS files.

    Raises:
        ValidationError: An option breaks its rule.
    """
    import boto3
    from botocore.exceptions import BotoCoreError

    session: Any = None
    session_error = ""
    try:
        session = boto3.Session(profile_name=wanted.profile)
    except BotoCoreError as error:
        session_error = str(error)
    region, source = find_region(wanted.region, session) or (_STAND_IN, None)
    config = SageMakerConfig(
        wanted.endpoint_name,
        region,
        endpoint_uri=wanted.endpoint_uri,
        ca_bundle=wanted.ca_bundle,
        target_variant=wanted.target_variant,
        connection_timeout=wanted.within,
        boto3_session=session,
    )
    product = PRODUCTS[wanted.product]
    if wanted.model is not None:
        product = dataclasses.replace(product, model=wanted.model)
    return Case(config, product, source, wanted.within, session, session_error)


async def diagnose(console: Console, case: Case, *, as_json: bool) -> bool:
    """Make every check and print what it finds.

    Args:
        console: Where to print.
        case: What to examine.
        as_json: Print one line of JSON for a program, instead of text for a person.

    Returns:
        Whether nothing failed.
    """
    findings: list[Finding] = []
    async for finding in examine(case):
        findings.append(finding)
        if not as_json:
            _show(console, finding)
    failed = [finding.name for finding in findings if finding.state is State.FAILED]
    if as_json:
        report = {
            "ok": not failed,
            "endpoint_name": case.config.endpoint_name,
            "region": None if case.region_source is None else case.config.region,
            "checks": [dataclasses.asdict(finding) for finding in findings],
        }
        sys.stdout.write(json.dumps(report, default=str) + "\n")
        sys.stdout.flush()
    elif failed:
        _print(console, Text(f"\nFailed: {', '.join(failed)}", style="bold red"))
    else:
        _print(console, Text("\nNothing failed.", style="bold green"))
    return not failed


def _show(console: Console, finding: Finding) -> None:
    state = Text(finding.state.ljust(_STATE_WIDTH), style=_STYLES[finding.state])
    name = Text(finding.name.ljust(_NAME_WIDTH), style="bold")
    advice = f"{_ADVICE}{finding.advice}" if finding.advice else ""
    if console.is_terminal:
        # Wrapped between words, and below each other.
        grid = Table.grid()
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(state, name, Text(finding.why))
        if advice:
            grid.add_row("", "", Text(advice))
        console.print(grid, highlight=False)
        return
    # Lines stay whole, so that they can be searched.
    _print(console, Text.assemble(state, name, finding.why))
    if advice:
        _print(console, Text(f"{'':{_STATE_WIDTH + _NAME_WIDTH}}{advice}"))


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False)
