"""The keys that let clients in: what a file may have, and that no message shows a key."""

import pytest
from deepgram_sagemaker.cli.gateway_keys import VARIABLE, KeysError, NamedKey, read_keys

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_keys_around(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_a_file_has_names_comments_and_keys_alone(tmp_path):
    file = tmp_path / "keys"
    file.write_text(
        "# who may come in\n"
        f"captions: {SECRET}1  # the captions\n"
        "\n"
        f"  {SECRET}2\n"
        f"captions-2:{SECRET}3\r\n"
        "odd:a#b!$%&'*+.^_`|~-c\n"
    )
    assert read_keys(file) == [
        NamedKey("captions", f"{SECRET}1"),
        NamedKey("key-4", f"{SECRET}2"),
        NamedKey("captions-2", f"{SECRET}3"),
        NamedKey("odd", "a#b!$%&'*+.^_`|~-c"),
    ]


def test_the_environment_has_the_same_with_commas_too(monkeypatch):
    assert read_keys(None) == []
    monkeypatch.setenv(VARIABLE, f"one:{SECRET}1, {SECRET}2\ntwo:{SECRET}3")
    assert [each.name for each in read_keys(None)] == ["one", "key-2", "two"]
    assert [each.key[-1] for each in read_keys(None)] == ["1", "2", "3"]


def test_a_file_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"environment:{SECRET}")
    file = tmp_path / "keys"
    file.write_text(f"file:{SECRET}")
    assert [each.name for each in read_keys(file)] == ["file"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no key"),
        ("# nothing\n\n", "has no key"),
        (f"bad name:{SECRET}", "line 1: the name before the colon"),
        (f"a:{SECRET}\n:{SECRET}2", "line 2: the name before the colon"),
        (f"a:{SECRET} {SECRET}", "line 1: the key 'a' must be"),
        ("a:", "line 1: the key 'a' must be"),
        (f"a:{SECRET}\nb:{SECRET}", "line 2: the key 'b' is there twice"),
        (f"a:{SECRET}\na:{SECRET}2", "line 2: there are two keys of the name 'a'"),
        (f"a:{SECRET}é", "line 1: the key 'a' must be"),
        (f"a:{SECRET},", "line 1: the key 'a' must be"),
        ("a:" + "x" * 513, "line 1: the key 'a' must be"),
    ],
)
def test_a_wrong_line_is_named_without_its_key(tmp_path, content, said):
    file = tmp_path / "keys"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(KeysError) as caught:
        read_keys(file)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_no_text_is_said(tmp_path):
    file = tmp_path / "keys"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(KeysError, match="is not text"):
        read_keys(file)


def test_no_key_is_in_a_repr_and_short_ones_are_known():
    assert repr(NamedKey("me", SECRET)) == "NamedKey('me')"
    assert not NamedKey("me", SECRET).is_short
    assert NamedKey("me", SECRET[:15]).is_short
