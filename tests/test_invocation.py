"""The URL that the Deepgram SDK makes, in the form that the service's patterns allow."""

import re
import urllib.parse

import pytest
from deepgram_sagemaker.errors import ValidationError
from deepgram_sagemaker.invocation import Invocation, normalize_query, parse_url
from hypothesis import given
from hypothesis import strategies as st

# As the service's API model has them.
QUERY = re.compile(
    r"^[a-zA-Z0-9][A-Za-z0-9_-]*=(?:[A-Za-z0-9._~\-]|%[0-9A-Fa-f]{2})+"
    r"(?:&[a-zA-Z0-9][A-Za-z0-9_-]*=(?:[A-Za-z0-9._~\-]|%[0-9A-Fa-f]{2})+)*$"
)

keys = st.from_regex(r"[a-zA-Z0-9][A-Za-z0-9_-]{0,10}", fullmatch=True)
values = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
pairs = st.lists(st.tuples(keys, values), max_size=8)


@given(pairs)
def test_what_the_sdk_encodes_fits_the_pattern_and_means_the_same(fields):
    query = normalize_query(urllib.parse.urlencode(fields))
    assert bool(QUERY.match(query)) or (query == "" and not fields)
    assert urllib.parse.parse_qsl(query, keep_blank_values=True) == fields


@given(pairs, st.sampled_from(["", ",", ",:/", "!*'()", "@$;?"]))
def test_so_does_what_others_encode(fields, safe):
    query = normalize_query(urllib.parse.urlencode(fields, quote_via=urllib.parse.quote, safe=safe))
    assert bool(QUERY.match(query)) or not fields
    assert urllib.parse.parse_qsl(query, keep_blank_values=True) == fields


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_anything_is_refused_or_becomes_valid_and_means_the_same(text):
    try:
        query = normalize_query(text)
    except ValidationError:
        return
    assert query == "" or QUERY.match(query)
    given_pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    kept = [pair for pair in given_pairs if pair[1]]
    assert urllib.parse.parse_qsl(query, errors="surrogateescape") == kept


@given(pairs)
def test_what_is_valid_is_left_alone(fields):
    valid = "&".join(f"{key}={urllib.parse.quote(value, safe='')}" for key, value in fields)
    assert normalize_query(valid) == valid


@given(st.text(max_size=60))
def test_twice_is_once(text):
    try:
        once = normalize_query(text)
    except ValidationError:
        return
    assert normalize_query(once) == once


@pytest.mark.parametrize(
    ("query", "normal"),
    [
        ("", ""),
        ("model=nova-3", "model=nova-3"),
        ("keyterm=Deep+Gram", "keyterm=Deep%20Gram"),
        ("keyterm=Deep%20Gram", "keyterm=Deep%20Gram"),
        ("keyterm=C%2B%2B", "keyterm=C%2B%2B"),
        ("redact=pci,ssn", "redact=pci%2Cssn"),
        ("keywords=snuffle:2", "keywords=snuffle%3A2"),
        ("callback=https://a/b?c=d", "callback=https%3A%2F%2Fa%2Fb%3Fc%3Dd"),
        ("tag=naïve", "tag=na%C3%AFve"),
        ("tag=%ff%fe", "tag=%ff%fe"),
        ("tag=100%", "tag=100%25"),
        ("tag=%zz", "tag=%25zz"),
        ("t=a&t=b&t=a", "t=a&t=b&t=a"),
        ("a=1&&b=2&", "a=1&b=2"),
        ("%6Dodel=x", "model=x"),
        ("extra=a;b", "extra=a%3Bb"),
    ],
)
def test_examples(query, normal):
    assert normalize_query(query) == normal


@pytest.mark.parametrize("query", ["tag=&model=x", "tag&model=x", "model=x&tag=", "model=x&tag"])
def test_a_parameter_without_a_value_is_left_out_and_said(query, caplog):
    caplog.set_level("INFO", logger="deepgram_sagemaker")
    assert normalize_query(query) == "model=x"
    assert "'tag' has no value" in caplog.text


@pytest.mark.parametrize("key", ["a.b", "a[0]", "_a", "-a", "ä", "a%20b", "a+b", ""])
def test_a_name_that_cannot_be_written_is_named(key):
    with pytest.raises(ValidationError, match=r"^query parameter ") as caught:
        normalize_query(f"model=x&{key}=1")
    assert caught.value.parameter == urllib.parse.unquote_plus(key)


def test_the_limit_is_the_services_and_names_what_is_long():
    fits = "k=" + "x" * 2046
    assert len(normalize_query(fits)) == 2048
    with pytest.raises(ValidationError, match=r"2049 characters.*limit is 2048.*'k'") as caught:
        normalize_query(fits + "x")
    assert caught.value.parameter == "k"


def test_the_limit_counts_what_is_sent():
    spaces = "keyterm=" + "+" * 1000
    with pytest.raises(ValidationError, match="3008 characters"):
        normalize_query(spaces)


def test_many_small_ones_are_counted_together():
    query = "&".join(["model=" + "m" * 50] + [f"keyterm=term{i}" for i in range(200)])
    with pytest.raises(ValidationError, match=r"'keyterm'.*given 200 times") as caught:
        normalize_query(query)
    assert "term7" not in str(caught.value)


@pytest.mark.parametrize("query", ["a=\ud800+", "\ud800=1"])
def test_a_lone_surrogate_is_an_error(query):
    with pytest.raises(ValidationError, match="surrogate"):
        normalize_query(query)


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        ("wss://api.deepgram.com/v1/listen?model=nova-3", "v1/listen", "model=nova-3"),
        ("wss://agent.deepgram.com/v1/agent/converse", "v1/agent/converse", ""),
        ("wss://host//v1/listen", "v1/listen", ""),
        ("ws://host:1/v2/speak?", "v2/speak", ""),
        ("/v1/listen?a=1", "v1/listen", "a=1"),
    ],
)
def test_urls(url, path, query):
    assert parse_url(url) == Invocation(path, query)
    assert parse_url(url).path == path
    assert parse_url(url).query == query


@pytest.mark.parametrize("url", ["wss://host", "wss://host/", "", "wss://host?model=x"])
def test_a_url_needs_a_path(url):
    with pytest.raises(ValidationError, match="no path"):
        parse_url(url)


def test_paths_have_the_services_length_and_letters():
    assert parse_url("wss://h/" + "p" * 100).path == "p" * 100
    with pytest.raises(ValidationError, match=r"101 characters.*at most 100"):
        parse_url("wss://h/" + "p" * 101)
    for path in ("v1/listen/", "v1//listen", "v1/lis ten", "v1/%20", "v1/ä", "v1/a~b"):
        with pytest.raises(ValidationError, match=r"^path="):
            parse_url(f"wss://h/{path}")


def test_a_fragment_is_left_out_and_said(caplog):
    invocation = parse_url("wss://h/v1/listen?keyterm=C#&model=secret")
    assert (invocation.path, invocation.query) == ("v1/listen", "keyterm=C")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "%23" in record.getMessage()
    assert "secret" not in record.getMessage()


@pytest.mark.parametrize("url", [b"wss://h/v1", None, 1])
def test_a_url_is_a_string(url):
    with pytest.raises(ValidationError, match="must be str"):
        parse_url(url)


def test_a_url_that_cannot_be_read():
    with pytest.raises(ValidationError, match="cannot be read"):
        parse_url("wss://[h/v1/listen?keyterm=secret")


def test_built_directly_it_is_checked_too():
    assert Invocation("/v1/listen", "a=b+c").query == "a=b%20c"
    with pytest.raises(ValidationError):
        Invocation("v1/listen", "a.b=1")
    with pytest.raises(ValidationError, match="must be str"):
        Invocation(b"v1/listen")
