"""Connection settings in the shared AWS files, read by botocore.

botocore parses `~/.aws/config` and `~/.aws/credentials`, so files that boto3 and the AWS CLI accept
are accepted here. Reading blocks, and importing botocore takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from deepgram_sagemaker.errors import ValidationError

if TYPE_CHECKING:
    from deepgram_sagemaker.config import SupportsCredentials

__all__ = ["NO_PROFILE", "SERVICE_ID", "Profile", "read_profile"]

SERVICE_ID: Final = "sagemaker_runtime_http2"
"""The service's name in a `services` section and, in capitals, in environment variables."""

_SETTINGS: Final = (
    "ca_bundle",
    "endpoint_url",
    "ignore_configured_endpoint_urls",
    "sdk_ua_app_id",
    "services",
    "use_dualstack_endpoint",
    "use_fips_endpoint",
)


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile's connection settings. It holds no keys.

    Attributes:
        name: The profile's name.
        settings: The settings that are set, as text, by name.
        services: The settings for our service, by the name of the `services` section.
        region: The region that boto3 would use: of the given session, of `AWS_DEFAULT_REGION`, or
            of the profile. None: it would find none, or the files were not read.
    """

    name: str = "default"
    settings: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    region: str | None = None

    def get(self, setting: str) -> str | None:
        """Return a setting's value, or None if it is not set."""
        return self.settings.get(setting)

    def described(self, setting: str) -> str:
        """Return a setting's name for messages."""
        return f"{setting} (profile {self.name!r})"


NO_PROFILE: Final = Profile()
"""The profile when there is no file."""


def read_profile(boto3_session: SupportsCredentials | None) -> Profile:
    """Read the profile in use: the given session's, or the one that the environment names.

    Args:
        boto3_session: The setting of that name. A session that is not botocore's has no profile.

    Raises:
        ValidationError: The files cannot be read, or have no such profile.
    """
    from botocore.exceptions import BotoCoreError

    session = _botocore_session(boto3_session)
    try:
        name = session.profile or "default"
        scoped = session.get_scoped_config()
        sections = session.full_config.get("services", {})
        region = session.get_config_variable("region")
    except BotoCoreError as error:
        problem = str(error)
    else:
        return Profile(name, _texts(scoped, _SETTINGS), _services(sections), region)
    # Raised outside the handler, because botocore's frames hold whole files, keys included.
    raise ValidationError(
        f"the shared AWS files cannot be used: {problem}", parameter="AWS_PROFILE"
    )


def _botocore_session(given: object) -> Any:  # noqa: ANN401 - botocore's
    import botocore.session

    # boto3 has no public access to the botocore session inside its own, which has the profile.
    for candidate in (given, getattr(given, "_session", None)):
        if isinstance(candidate, botocore.session.Session):
            return candidate
    return botocore.session.Session()


def _services(sections: object) -> dict[str, dict[str, str]]:
    if not isinstance(sections, Mapping):
        return {}
    return {
        str(name): _texts(section.get(SERVICE_ID), ("endpoint_url",))
        for name, section in sections.items()
        if isinstance(section, Mapping)
    }


def _texts(values: object, names: tuple[str, ...]) -> dict[str, str]:
    if not isinstance(values, Mapping):
        return {}
    return {name: values[name] for name in names if isinstance(values.get(name), str)}
