"""Requests to STS and to SageMaker's control plane, with the keys that a session uses."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from deepgram_sagemaker._native import quote
from deepgram_sagemaker.config import mask_userinfo
from deepgram_sagemaker.discretion import quiet_botocore
from deepgram_sagemaker.errors import SageMakerError

from .findings import FailedError, SkippedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .case import Case

__all__ = ["MOST_SKEW", "RefusedError", "answer_of", "fail", "refuse_elsewhere"]

MOST_SKEW: Final = 300.0
"""Seconds by which a signature's time may differ from the service's clock."""

_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_UNKNOWN: Final = {
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "IncompleteSignature",
    "AuthFailure",
}


@dataclass(eq=False)
class RefusedError(Exception):
    """AWS answered with an error.

    Attributes:
        code: AWS's name for it.
        words: AWS's words, without secrets.
        status: The HTTP status.
    """

    code: str
    words: str
    status: int


async def refuse_elsewhere(case: Case, variable: str, what: str) -> None:
    """Skip a check whose service is not beside this endpoint.

    Args:
        case: What is examined.
        variable: The variable that names another address for the service.
        what: The service.

    Raises:
        SkippedError: The endpoint is not on one of AWS's hosts, and the variable is not set; or
            the settings do not say where it is.
    """
    try:
        way = await case.way()
    except SageMakerError:
        raise SkippedError("a setting breaks its rule: see the address's line") from None
    if not way.is_aws and not os.environ.get(variable):
        raise SkippedError(
            f"{way.host} is not a host of AWS, so {what} was not asked; set {variable} to ask it"
        )


async def answer_of(
    case: Case,
    service: str,
    operation: str,
    *,
    region: str | None = None,
    signed: bool = True,
    **arguments: str,
) -> Mapping[str, Any]:
    """Return the answer to one request, which is tried once.

    Args:
        case: What is examined. Learns how far the answer's Date is ahead.
        service: boto3's name of the service.
        operation: boto3's name of the method.
        region: Another region than the settings'.
        signed: Whether to sign it.
        arguments: The method's arguments.

    Raises:
        RefusedError: AWS answered with an error.
        SkippedError: AWS could not be reached.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    def ask() -> Mapping[str, Any]:
        with quiet_botocore():
            client = _client(case, service, region or case.config.region, signed=signed)
            answer: Mapping[str, Any] = getattr(client, operation)(**arguments)
            return answer

    try:
        answer = await case.in_thread(ask, f"asking {service}")
    except ClientError as error:
        # botocore's frames contain keys, so the error is not chained.
        _learn_age(case, error.response)
        told = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        refused = RefusedError(quote(told.get("Code", "")), quote(told.get("Message", "")), status)
    except (BotoCoreError, TimeoutError) as error:
        unreachable = quote(mask_userinfo(str(error)))
        raise SkippedError(f"no answer from {service}: {unreachable}") from None
    else:
        _learn_age(case, answer)
        return answer
    raise refused


def _client(case: Case, service: str, region: str, *, signed: bool) -> Any:  # noqa: ANN401 - boto3 has no types
    import boto3
    import botocore
    from botocore.config import Config

    session = case.session if case.session is not None else boto3.Session()
    options: dict[str, Any] = {
        "connect_timeout": case.within,
        "read_timeout": case.within,
        "retries": {"total_max_attempts": 1},
    }
    if case.config.proxy:
        options["proxies"] = {"https": case.config.proxy}
    if not signed:
        options["signature_version"] = botocore.UNSIGNED
    keys = {}
    if signed and case.identity is not None:
        keys = {
            "aws_access_key_id": case.identity.access_key_id,
            "aws_secret_access_key": case.identity.secret_access_key,
            "aws_session_token": case.identity.session_token,
        }
    return session.client(service, region_name=region, config=Config(**options), **keys)


def _learn_age(case: Case, answer: Mapping[str, Any]) -> None:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if date:
        try:
            case.ages.append(parsedate_to_datetime(date).timestamp() - time.time())
        except ValueError:
            return


def fail(case: Case, refused: RefusedError, what: str) -> NoReturn:
    """Raise what a refusal means for the caller.

    Raises:
        FailedError: The keys have expired, or are not accepted.
        SkippedError: The clock is the reason.
    """
    said = f"{what} answered {refused.code}: {refused.words}"
    if case.ages and abs(case.ages[-1]) > MOST_SKEW:
        raise SkippedError(f"{said} This machine's clock is wrong: see the clock's line")
    if refused.code in _EXPIRED:
        raise FailedError(
            f"the credentials have expired: {said}",
            "renew them (aws sso login, or a new assumed role), and remove old keys from the "
            "environment",
            code=refused.code,
        )
    if refused.code in _UNKNOWN:
        raise FailedError(
            f"the credentials are not accepted: {said}",
            "check which credentials are in use, that key, secret and token belong together, and "
            "that the region is enabled for the account",
            code=refused.code,
        )
    raise FailedError(said, code=refused.code)
