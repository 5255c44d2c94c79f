"""The tables of the reference are what the code does."""

import ast
import builtins
import dataclasses
import importlib.util
import math
import re
from pathlib import Path

import deepgram.transport
import pytest
from deepgram_sagemaker import SageMakerConfig, errors
from deepgram_sagemaker.errors import ValidationError

ROOT = Path(__file__).parents[2]

FIELDS = {field.name: field for field in dataclasses.fields(SageMakerConfig)}


def rows(page, columns):
    """The rows of a page's tables of settings, as lists of cells."""
    found = []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if line.startswith("| `") and len(cells) == columns and cells[0].strip("`") in FIELDS:
            found.append([cells[0].strip("`"), *cells[1:]])
    return found


SETTINGS = rows("docs/configuration.md", 4)


def default_of(text):
    """The default that a cell names."""
    if not text:
        return dataclasses.MISSING
    plain = text.strip("`").replace(" MiB", "")
    if plain == "None":
        return None
    if plain == "()":
        return ()
    try:
        return float(plain) * (2**20 if "MiB" in text else 1)
    except ValueError:
        return plain


def test_every_setting_has_one_row():
    assert sorted(name for name, *_ in SETTINGS) == sorted(FIELDS)


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row[0])
def test_the_defaults_are_the_settings(row):
    assert FIELDS[row[0]].default == default_of(row[1])


def test_the_settings_of_the_readme_are_settings():
    table = rows("README.md", 3)
    assert len(table) == 11
    for name, default, _ in table:
        assert FIELDS[name].default == default_of(default), name


RANGE = re.compile(
    r"(?P<above>above )?(?P<least>[\d.,]+) to (?P<below>below )?(?P<most>[\d.,]+)"
    r"(?: (?!or\b)(?P<unit>[a-z ]+))?(?P<inf>, or `inf`)?(?P<none>, or `None`)?"
)

RANGES = {
    name: found
    for name, _, allowed, _ in SETTINGS
    if (found := RANGE.fullmatch(allowed)) is not None
}


def test_every_number_has_a_range():
    numbers = {name for name, field in FIELDS.items() if re.match(r"float|int", str(field.type))}
    assert set(RANGES) == numbers


@pytest.mark.parametrize("name", RANGES)
def test_the_ranges_are_the_settings(name):
    told = RANGES[name]
    whole = FIELDS[name].type == "int"
    least, most = (float(told[each].replace(",", "")) for each in ("least", "most"))
    step = 1 if whole else 1e-6
    inside = [least + step if told["above"] else least, most - step if told["below"] else most]
    outside = [
        least if told["above"] else least - step,
        most if told["below"] else most * (1 + step),
    ]
    (inside if told["inf"] else outside).append(math.inf)
    (inside if told["none"] else outside).append(None)
    outside += [math.nan, "1", True]

    def taken(value):
        # The first wait may not exceed the longest.
        other = {
            "initial_backoff": {"max_backoff": math.inf},
            "max_backoff": {"initial_backoff": 1e-9},
        }
        return SageMakerConfig("local", **{name: value} | other.get(name, {}))

    for value in inside:
        assert getattr(taken(value), name) == value
    for value in outside:
        with pytest.raises(ValidationError) as refused:
            taken(value)
        assert refused.value.parameter in (name, "initial_backoff"), value


@pytest.fixture(scope="module")
def errors_page():
    """The tool that makes the page of errors."""
    spec = importlib.util.spec_from_file_location("errors_page", ROOT / "tools/errors_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_errors_is_made_from_the_table(errors_page):
    text = errors_page.PAGE.read_text(encoding="utf-8")
    assert text == errors_page.page(), "run tools/errors_page.py"


def test_what_else_is_on_it_is_what_the_sources_say(errors_page):
    package = ROOT / "python" / "deepgram_sagemaker"
    sources = [*package.rglob("*.py"), Path(deepgram.transport.__file__)]
    texts = [
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    for other in (each for group in errors_page.OTHERS.values() for each in group):
        assert any(other.words in text for text in texts), other.words
        error = getattr(errors, other.error, None) or getattr(builtins, other.error)
        assert issubclass(error, Exception)


def test_every_error_is_on_the_page_of_errors(errors_page):
    on_it = errors_page.page()
    for name in set(errors.__all__) - {"SageMakerError"}:
        assert f"`{name}`" in on_it, name
