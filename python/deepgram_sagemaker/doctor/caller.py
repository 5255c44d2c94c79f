"""The credentials, whose they are, and the region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.credentials import CredentialSource
from deepgram_sagemaker.errors import AuthenticationError, CredentialsTimeoutError

from .control_plane import RefusedError, answer_of, fail, refuse_elsewhere
from .findings import FailedError, SkippedError, Told

if TYPE_CHECKING:
    from .case import Case

__all__ = ["NAME_A_REGION", "NO_REGION", "credentials", "identity", "region"]

NO_REGION: Final = "no region was given, and boto3 finds none"

NAME_A_REGION: Final = (
    "give --region, or set AWS_DEFAULT_REGION, AWS_REGION, or region in the profile"
)
"""What to do where there is no region."""


async def credentials(case: Case) -> Told:
    """Look up the keys as a session does."""
    if case.session_error:
        raise FailedError(
            case.session_error,
            "name a profile that exists (aws configure list-profiles), unset AWS_PROFILE, or "
            "correct the file that cannot be read",
        )
    try:
        case.identity = await CredentialSource(case.config).identity()
    except CredentialsTimeoutError as error:
        raise FailedError(
            error.message, "see which command or server of the profile hangs"
        ) from None
    except AuthenticationError as error:
        if case.session.get_credentials() is None:
            raise FailedError("no AWS credentials were found") from None
        raise FailedError(error.message) from None
    found: Any = case.session.get_credentials()
    method = str(getattr(found, "method", "unknown"))
    temporary = case.identity.session_token is not None
    kind = "temporary keys (with a session token)" if temporary else "long-term keys"
    profile = case.session.profile_name
    return Told(
        f"{kind}, found by {method}, profile {profile}",
        {"method": method, "temporary": temporary, "profile": profile},
    )


async def identity(case: Case) -> Told:
    """Ask STS whose the keys are."""
    await refuse_elsewhere(case, "AWS_ENDPOINT_URL_STS", "STS")
    try:
        answer = await answer_of(case, "sts", "get_caller_identity")
    except RefusedError as refused:
        if refused.code in {"AccessDenied", "AccessDeniedException"}:
            raise SkippedError(f"STS does not tell: {refused.words}") from None
        fail(case, refused, "STS")
    arn, account = str(answer.get("Arn", "")), str(answer.get("Account", ""))
    return Told(f"{arn} (account {account})", {"arn": arn, "account": account})


async def region(case: Case) -> Told:
    """Say which region is used, and where that comes from."""
    if case.region_source is None:
        raise FailedError(NO_REGION)
    used = case.config.region
    why = f"{used}, from {case.region_source}"
    if used != "us-west-2":
        why += f'; an application has to say region="{used}", because its default is us-west-2'
    return Told(why, {"region": used, "source": case.region_source})
