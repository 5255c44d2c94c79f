"""The list of checks, in the order in which a support engineer would make them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker._native import quote
from deepgram_sagemaker.errors import SageMakerError

from .caller import NAME_A_REGION, credentials, identity, region
from .clock import clock
from .endpoint import endpoint
from .findings import Check, FailedError, Finding, SkippedError, State
from .network import address, dns, proxy, tcp, tls
from .session import answer, opening, permission
from .versions import versions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from .case import Case

__all__ = ["CHECKS", "examine"]

# fmt: off
CHECKS: Final = (
    Check("versions", versions,
        "install what is missing: pip install --upgrade deepgram-sagemaker"),
    Check("credentials", credentials,
        "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, log in (aws sso login), "
        "or give the instance or task a role"),
    Check("region", region, NAME_A_REGION),
    Check("identity", identity,
        "check the credentials (aws sts get-caller-identity)", ("credentials", "region")),
    Check("endpoint", endpoint,
        "look at it in the console (aws sagemaker describe-endpoint)", ("identity",)),
    Check("address", address,
        "correct that setting, environment variable or profile", ("region",)),
    Check("proxy", proxy,
        "have the proxy allow CONNECT to the host and its port (8443 on AWS), or reach the host "
        "without it (NO_PROXY)", ("address",)),
    Check("dns", dns,
        "check region, endpoint_uri and DNS; a VPC's own names resolve only inside it", ("proxy",)),
    Check("tcp", tcp,
        "let port 8443 out in firewalls and security groups; or check endpoint_uri", ("dns",)),
    Check("tls", tls,
        "check the port (8443 on AWS), and firewalls that open TLS", ("tcp", "proxy")),
    Check("clock", clock,
        "set this machine's clock (NTP)"),
    Check("permission", permission,
        "add the action to the caller's policy, for this endpoint's ARN",
        ("endpoint", "tls", "clock")),
    Check("open", opening,
        "see the log group /aws/sagemaker/Endpoints/NAME; AWS support asks for the request id",
        ("permission",)),
    Check("audio", answer,
        "see the log group /aws/sagemaker/Endpoints/NAME, and try another --product or --model",
        ("open",)),
)
# fmt: on


async def examine(case: Case, checks: Sequence[Check] = CHECKS) -> AsyncIterator[Finding]:
    """Make one check after the other, and yield each finding when it is there.

    Args:
        case: What to examine.
        checks: What to look at.
    """
    # The checks that did not pass because of a failure, and the failure.
    broken: dict[str, str] = {}
    try:
        for check in checks:
            cause = next((broken[name] for name in check.needs if name in broken), None)
            if cause is not None:
                broken[check.name] = cause
                why = f"{cause} failed"
                yield Finding(check.name, State.SKIPPED, why, "", 0.0, {})
                continue
            finding = await _made(check, case)
            if finding.state is State.FAILED:
                broken[check.name] = check.name
            yield finding
    finally:
        await case.close()


async def _made(check: Check, case: Case) -> Finding:
    began = time.monotonic()

    def took() -> float:
        return round(time.monotonic() - began, 6)

    try:
        told = await check.examine(case)
    except FailedError as error:
        advice = check.advice if error.advice is None else error.advice
        return Finding(check.name, State.FAILED, error.why, advice, took(), error.facts)
    except SkippedError as error:
        return Finding(check.name, State.SKIPPED, error.why, "", took(), {})
    except SageMakerError as error:
        return Finding(check.name, State.FAILED, str(error), check.advice, took(), {})
    except Exception as error:  # noqa: BLE001 - one check's surprise must not hide the others
        why = f"the check itself failed: {type(error).__name__}: {quote(str(error))}"
        return Finding(check.name, State.FAILED, why, check.advice, took(), {})
    return Finding(check.name, State.OK, told.why, "", took(), told.facts)
