"""The endpoint's state, as SageMaker's control plane has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker._native import quote

from .control_plane import RefusedError, answer_of, fail, refuse_elsewhere
from .findings import FailedError, SkippedError, Told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .case import Case

__all__ = ["endpoint"]

# In these it answers.
_SERVING: Final = {"InService", "Updating", "SystemUpdating", "RollingBack"}

_ADVICE: Final = {
    "Creating": "wait until it is InService (aws sagemaker wait endpoint-in-service); that takes "
    "several minutes",
    "Deleting": "create it again, or use another endpoint",
    "Failed": "read the reason and the log group /aws/sagemaker/Endpoints/{name}, then create it "
    "again",
}

_AT_ONCE: Final = 8
"""Regions that are asked at the same time."""


async def endpoint(case: Case) -> Told:
    """Ask SageMaker for the endpoint's state and variants."""
    name, region = case.config.endpoint_name, case.config.region
    await refuse_elsewhere(case, "AWS_ENDPOINT_URL_SAGEMAKER", "SageMaker's control plane")
    try:
        answer = await _describe(case, region)
    except RefusedError as refused:
        if refused.code in {"AccessDenied", "AccessDeniedException"}:
            raise SkippedError(
                "these credentials do not have the IAM action sagemaker:DescribeEndpoint, which a "
                "session does not need"
            ) from None
        if not _is_missing(refused):
            fail(case, refused, "SageMaker")
        raise await _missing(case) from None
    status = str(answer.get("EndpointStatus", ""))
    variants = {
        str(each.get("VariantName", "")): each.get("CurrentInstanceCount", 0)
        for each in answer.get("ProductionVariants", ())
    }
    facts = {"status": status, "variants": variants, "arn": answer.get("EndpointArn")}
    shown = ", ".join(f"{each} ({count} instances)" for each, count in variants.items())
    if status not in _SERVING:
        reason = f": {quote(answer['FailureReason'])}" if answer.get("FailureReason") else ""
        advice = _ADVICE.get(status)
        raise FailedError(
            f"endpoint {name!r} in {region} is {status}{reason}",
            None if advice is None else advice.format(name=name),
            **facts,
        )
    wanted = case.config.target_variant
    if wanted is not None and wanted not in variants:
        raise FailedError(
            f"endpoint {name!r} has no variant {wanted!r}, only {shown}",
            "give the name of a variant that exists, or none",
            **facts,
        )
    return Told(f"{name} is {status}, variants: {shown or 'none'}", facts)


async def _describe(case: Case, region: str) -> Mapping[str, Any]:
    return await answer_of(
        case,
        "sagemaker",
        "describe_endpoint",
        region=region,
        EndpointName=case.config.endpoint_name,
    )


def _is_missing(refused: RefusedError) -> bool:
    return refused.code in {"ValidationException", "ResourceNotFound"} and (
        "could not find endpoint" in refused.words.lower()
    )


async def _missing(case: Case) -> FailedError:
    """Return why the endpoint is not there, in the light of the other regions."""
    name, region = case.config.endpoint_name, case.config.region
    try:
        others = [
            each
            for each in case.session.get_available_regions(
                "sagemaker", case.session.get_partition_for_region(region)
            )
            if each != region
        ]
    except Exception:  # noqa: BLE001 - of botocore's data, which may not know the region
        others = []
    gate = asyncio.Semaphore(_AT_ONCE)

    async def has(other: str) -> bool:
        async with gate:
            try:
                await _describe(case, other)
            except RefusedError:
                return False
            return True

    asked = {asyncio.create_task(has(other)): other for other in others}
    if asked:
        # A network that leads to one region only would take the time of every other.
        await asyncio.wait(asked, timeout=case.within)
    for each in asked:
        each.cancel()
    answers = dict(zip(others, await asyncio.gather(*asked, return_exceptions=True), strict=True))
    found = [other for other, there in answers.items() if there is True]
    absent = [other for other, there in answers.items() if there is False]
    if found:
        return FailedError(
            f"the wrong region: endpoint {name!r} is in {', '.join(found)}, not in {region}",
            f'use region="{found[0]}" (here: --region {found[0]})',
            regions=found,
        )
    return FailedError(
        f"there is no endpoint {name!r} in {region}"
        + (f", nor in {len(absent)} other regions" if absent else ""),
        f"check the name and the account (aws sagemaker list-endpoints --region {region})",
    )
