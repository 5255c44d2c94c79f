"""Makes docs/errors.md: every error by the words that a reader pastes into a search.

The words and the verdicts of failures are those of the package (`aws/advice.py`, and the native
table of reasons); what is raised elsewhere is listed here. Run it with the environment's Python:

    .venv/bin/python tools/errors_page.py
"""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

from deepgram_sagemaker.aws.advice import ROWS
from deepgram_sagemaker.aws.failures import REASONS

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"

INTRODUCTION = """\
# Errors by their text

Each heading has the fixed words of an error's message. What varies (names, numbers, what the
service said) is left out, so paste the message's first words into the search. Each entry names
the class from [`deepgram_sagemaker.errors`](api/errors.md), and says how often it is retried.

- `error.reason` is the name in code font: it does not change with the words.
- "Detail:" and "It said:" at the end of a message are the system's or the service's own words.
- A message that begins with "gave up after" has the last failure's words, and the failure itself
  is `error.__cause__`.
- [`deepgram-sagemaker doctor ENDPOINT`](command-line.md#doctor) makes the checks that these texts
  name, one after the other.
- [Failures](failures.md) shows each of them as a run against the local endpoint.
"""

GROUPS = {
    "dns": "On the way to the service",
    "acquire_timeout": "Waiting",
    "throttled": "How much is asked of the service",
    "no_credentials": "Who is asking",
    "no_endpoint": "What is asked for",
    "container_unavailable": "The container",
    "early_end": "Streams and connections that end",
}
"""The headings, by the first reason below each."""

UNSPOKEN = {"no_credentials", "credentials_unavailable", "setting", "closed"}
"""Reasons whose own words are never shown: what raises them has better ones, in `OTHERS`."""


class Other(NamedTuple):
    """An error that is not in the table of reasons.

    Attributes:
        words: Fixed words of its message, as they are in the source.
        error: Its class.
        meaning: What it means, and what to do.
    """

    words: str
    error: str
    meaning: str


OTHERS = {
    "Credentials": [
        Other(
            "no AWS credentials were found",
            "NoCredentialsError",
            "boto3's chain ended without keys. Set `AWS_PROFILE`, or `AWS_ACCESS_KEY_ID` and "
            "`AWS_SECRET_ACCESS_KEY`; log in (`aws sso login`); give the instance or task a role; "
            "or pass `boto3_session`.",
        ),
        Other(
            "the boto3_session given has no credentials",
            "NoCredentialsError",
            "Make the session with keys, or with the name of a profile that has some, or leave "
            "`boto3_session` out.",
        ),
        Other(
            "looking up AWS credentials failed",
            "NoCredentialsError",
            "The parentheses have botocore's error: a profile that does not exist, a file that "
            "cannot be read, an expired login. It is retried only if the source of the keys could "
            "not be reached.",
        ),
        Other(
            "looking up AWS credentials takes longer than",
            "CredentialsTimeoutError",
            "A `credential_process`, an SSO or STS request, a metadata server or a file of the "
            "profile hangs. The look-up goes on, and the next attempt waits for it. The limit is "
            "`connection_timeout`, though at least one second.",
        ),
        Other(
            "the AWS credentials found are incomplete",
            "NoCredentialsError",
            "There is an access key without a secret, or a secret without a key.",
        ),
        Other(
            "so nothing can be signed with it",
            "AuthenticationError",
            "A key contains a character that no key has. Often an environment variable was read "
            "from a file, line break and all.",
        ),
    ],
    "Settings and the URL": [
        Other(
            "must be an AWS region, such as 'us-west-2', or 'auto'",
            "ValidationError",
            "Give the region's code, such as `eu-central-1`, not its name. Every setting has such "
            "a message: it names the field, the value and [the rule](configuration.md).",
        ),
        Other(
            "region='auto': boto3 finds no region",
            "ValidationError",
            "Set `AWS_DEFAULT_REGION`, or `region` in the profile, or give the endpoint's region.",
        ),
        Other(
            "this is an ARN, the name is what follows its last '/'",
            "ValidationError",
            "`endpoint_name` is the name alone.",
        ),
        Other(
            "the shared AWS files cannot be used",
            "ValidationError",
            "`~/.aws/config` or `~/.aws/credentials` cannot be read as botocore reads them, or the "
            "profile that `AWS_PROFILE` names does not exist.",
        ),
        Other(
            "must name a PEM file, and there is none",
            "ValidationError",
            "`ca_bundle`, `AWS_CA_BUNDLE` or `REQUESTS_CA_BUNDLE` names no file.",
        ),
        Other(
            "the query string has",
            "ValidationError",
            "SageMaker takes a query of at most 2,048 characters, percent-encoded. The message "
            "names the longest parameter. Long lists of `keyterm` are the usual cause.",
        ),
        Other(
            "no route for the path",
            "ValidationError",
            "The factory has `routes`, and none is for this product: `v1/listen` (Nova), "
            "`v2/listen` (Flux), `v1/speak` (Aura), `v2/speak` (Flux TTS), `v1/agent/converse`.",
        ),
        Other(
            "the SageMaker transport is async-only",
            "TypeError",
            "Use `AsyncDeepgramClient` in a running event loop, not `DeepgramClient`.",
        ),
    ],
    "The session": [
        Other(
            "gave up after",
            "RetriesExhaustedError",
            "Retries or their budget ran out. The rest of the message is the last failure; "
            "`seconds_unacknowledged` says how much audio has no result. For longer outages raise "
            "`max_retries` and `retry_budget`: see "
            "[how long to try](guarantees.md#failures-and-how-long-to-try).",
        ),
        Other(
            "This session cannot go on over another stream",
            "SessionLostError",
            "A stream ended, and the audio that would have to be sent again is no longer kept: a "
            "container or packet codec has outgrown `max_replay_buffer_bytes`. Raw audio and WAV "
            "files have no such limit.",
        ),
        Other(
            "the session's input has ended",
            "SessionClosedError",
            "Something was sent after CloseStream or Close, or after the service had ended the "
            "session in order.",
        ),
        Other(
            "the transport is closed",
            "SessionClosedError",
            "The connection was used after its `async with` block, or after `close()`.",
        ),
    ],
    "The Deepgram SDK's own": [
        Other(
            "A different async transport factory is already installed",
            "RuntimeError",
            "The SDK has one transport factory a process, and another one is in use. Use one "
            "factory for all clients, with `routes=` if they need several endpoints. In tests, the "
            "SDK accepts another factory as soon as the local endpoint has stopped to which the "
            "first one leads. `deepgram.transport.restore_transport()` takes a factory out; the "
            "clients that are left then connect to Deepgram's own service.",
        ),
        Other(
            "A different sync transport factory is already installed",
            "RuntimeError",
            "The same for sync clients. This transport is for `AsyncDeepgramClient` only.",
        ),
    ],
}


def words_of(advice: str) -> str:
    """Return the fixed words at the beginning of a message, as a heading."""
    head = re.split(r"[:;] |\.(?: |$)", advice, maxsplit=1)[0]
    return re.sub(r"'?\{[^}]*\}'?", "…", head)


def shown(advice: str) -> str:
    """Return a message with names in place of what varies."""
    values = {
        "{endpoint!r}": "'ENDPOINT'",
        "{endpoint}": "ENDPOINT",
        "{region}": "REGION",
        "{parameters}": "the query's names",
        "{log}": "the log group /aws/sagemaker/Endpoints/ENDPOINT",
    }
    for field, value in values.items():
        advice = advice.replace(field, value)
    # At the beginning of a line it would make a heading.
    return advice.replace("#", r"\#")


def verdict(limit: int | None) -> str:
    """Say how often a failure is retried."""
    match limit:
        case None:
            return "retried within `max_retries` and `retry_budget`"
        case 0:
            return "not retried"
        case _:
            return f"retried at most {limit} times without progress"


def page() -> str:
    """Return the whole page."""
    lines = [INTRODUCTION.rstrip()]
    groups: list[tuple[str, dict[str, list[str]]]] = []
    for reason, row in ROWS.items():
        if reason in GROUPS:
            groups.append((GROUPS[reason], {}))
        if reason in UNSPOKEN:
            continue
        error = (
            f"[`{row.error.__name__}`](api/errors.md#{row.error.__module__}.{row.error.__name__})"
        )
        told = [
            f"{error} · `{reason}` · {verdict(REASONS[reason])}",
            "",
            textwrap.fill(shown(row.advice), 98, initial_indent="> ", subsequent_indent="> "),
        ]
        texts = groups[-1][1].setdefault(words_of(row.advice), [])
        texts += ["", *told]
    for heading, entries in groups:
        lines += ["", f"## {heading}"]
        for words, texts in entries.items():
            lines += ["", f"### {words}", *texts]
    for heading, others in OTHERS.items():
        lines += ["", f"## {heading}"]
        for other in others:
            error = f"`{other.error}`"
            if other.error not in ("TypeError", "RuntimeError"):
                error = f"[{error}](api/errors.md#deepgram_sagemaker.errors.{other.error})"
            body = textwrap.fill(other.meaning, 100, break_on_hyphens=False)
            lines += ["", f"### {other.words}", "", error, "", body]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
