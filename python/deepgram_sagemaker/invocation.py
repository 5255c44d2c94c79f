"""The path and query for the container, from the URL that the Deepgram SDK would have opened.

The service takes path and query string as request headers and has a pattern for each. The query's
pattern is narrower than a URL's: no `+` for a space, no raw comma, no parameter without a value. So
a query is rewritten in the same order, with every value that the pattern would refuse
percent-encoded.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from .errors import ValidationError

__all__ = ["Invocation", "normalize_query", "parse_url"]

_logger = logging.getLogger(__name__)

MAX_PATH = 100
MAX_QUERY = 2048

_PATH = re.compile(r"[A-Za-z0-9\-._]+(?:/[A-Za-z0-9\-._]+)*")
_KEY = re.compile(r"[a-zA-Z0-9][A-Za-z0-9_-]*")
_VALUE = re.compile(r"(?:[A-Za-z0-9._~\-]|%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a leg invokes, in the service's form.

    Attributes:
        path: The path at the container, without a leading slash, such as `v1/listen`.
        query: The query string as the service accepts it; empty: the header is omitted.
    """

    path: str
    query: str = ""

    def __post_init__(self) -> None:
        """Check the path and bring the query into the service's form.

        Raises:
            ValidationError: Path or query break the service's rules.
        """
        if not isinstance(self.path, str) or not isinstance(self.query, str):
            raise ValidationError(
                f"an invocation's path and query must be str, not {type(self.path).__name__} and "
                f"{type(self.query).__name__}"
            )
        object.__setattr__(self, "path", _checked_path(self.path))
        object.__setattr__(self, "query", normalize_query(self.query))


def parse_url(url: str) -> Invocation:
    """Return the path and query of the URL that the factory was given.

    Args:
        url: Such as `wss://api.deepgram.com/v1/listen?model=nova-3`. Scheme, host and fragment are
            ignored: the endpoint replaces the first two, and a fragment is never sent to a server.

    Raises:
        ValidationError: Path or query break the service's rules.
    """
    if not isinstance(url, str):
        raise ValidationError(f"the URL must be str, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        # The message does not repeat the URL, because its query may hold private data.
        raise ValidationError(f"the URL cannot be read: {error}") from None
    if "#" in url:
        _logger.warning(
            "the URL has a '#': what follows it is left out, and does not reach the container; in "
            "a parameter's value it is written %23"
        )
    return Invocation(parts.path, parts.query)


def normalize_query(query: str) -> str:
    """Rewrite a query string in the form that the service's pattern allows.

    Parameters keep their order and their repetitions. A value that already fits is unchanged. In
    any other value, `+` is a space, and everything outside letters, digits and `-._~` is
    percent-encoded. A parameter without a value (`tag=`, or only `tag`) cannot be expressed in the
    service's form. It is omitted, and Deepgram uses its default.

    Args:
        query: The part of a URL after `?`.

    Raises:
        ValidationError: A name does not fit the pattern, or the result is too long.
    """
    fields: list[tuple[str, str]] = []
    for pair in query.split("&"):
        if not pair:
            continue
        raw_key, _, raw_value = pair.partition("=")
        key = _checked_key(raw_key)
        if raw_value:
            fields.append((key, _encoded_value(key, raw_value)))
        else:
            _logger.info("query parameter %r has no value: left out, as SageMaker requires", key)
    normal = "&".join(f"{key}={value}" for key, value in fields)
    if len(normal) > MAX_QUERY:
        _refuse_length(fields, len(normal))
    return normal


def _checked_path(path: str) -> str:
    path = path.lstrip("/")
    if not path:
        raise ValidationError(
            "the URL has no path: give the container's, such as /v1/listen", parameter="path"
        )
    if len(path) > MAX_PATH:
        raise ValidationError(
            f"the path has {len(path)} characters, and SageMaker takes at most {MAX_PATH}",
            parameter="path",
        )
    if not _PATH.fullmatch(path):
        raise ValidationError(
            f"path={path!r}: the path must be names of letters, digits and -._ with single "
            "slashes between them",
            parameter="path",
        )
    return path


def _checked_key(raw: str) -> str:
    # The service's form does not allow percent-encoded names, so they are decoded.
    key = _unquoted("name", raw).decode("utf-8", "replace")
    if not _KEY.fullmatch(key):
        raise ValidationError(
            f"query parameter {key!r}: SageMaker takes names of letters, digits, _ and -, that "
            "begin with a letter or digit",
            parameter=key,
        )
    return key


def _encoded_value(key: str, raw: str) -> str:
    if _VALUE.fullmatch(raw):
        return raw
    # Encoded as bytes, so that an escape that is not UTF-8 arrives unchanged. A '%' that begins no
    # escape stands for itself.
    return quote_from_bytes(_unquoted(key, raw), safe="-._~")


def _unquoted(name: str, raw: str) -> bytes:
    try:
        return unquote_to_bytes(raw.replace("+", " "))
    except UnicodeEncodeError:
        raise ValidationError(
            f"query parameter {name!r} has a lone surrogate, which no encoding can carry",
            parameter=name,
        ) from None


def _refuse_length(fields: list[tuple[str, str]], length: int) -> None:
    sizes: dict[str, int] = {}
    for key, value in fields:
        sizes[key] = sizes.get(key, 0) + len(key) + 1 + len(value) + 1
    longest = max(sizes, key=sizes.__getitem__)
    times = sum(key == longest for key, _ in fields)
    raise ValidationError(
        f"the query string has {length} characters as SageMaker takes it, and the limit is "
        f"{MAX_QUERY}: {longest!r} alone takes {sizes[longest]}"
        + (f", given {times} times" if times > 1 else ""),
        parameter=longest,
    )
