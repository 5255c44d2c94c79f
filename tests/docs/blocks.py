"""The blocks of code of a page of the documentation.

What a block is follows from its fence:

- ```` ```python title="name.py" ````: a file in the page's directory. It is run as a program unless
  another block of the page names it: then that block says how it is run.
- ```` ```python ````: goes on with the page's session. `await` works at the top level.
- ```` ```sh ````: lines for the page's shell.
- ```` ```console ````: `$ command` lines, each with what it prints. `...` stands for anything: on a
  line of its own for any lines, inside a line for any characters.
- ```` ```json ````, `toml`, `yaml`: parsed. A policy of IAM's has its actions checked.
- ```` ```text ````: not run.

A block of any language that has a title is a file in the page's directory. Two comments may stand
before a block: `<!-- not run: reason -->`, and `<!-- needs: ffmpeg -->`, which leaves the block out
where the program is not installed; a name with a dot is a module.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LANGUAGES = ("python", "sh", "console", "json", "toml", "yaml", "text")

_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`]*)")
_NOTE = re.compile(r" *<!-- (?P<kind>not run|needs): (?P<value>.+?) -->")
_TITLE = re.compile(r"title=\"(?P<title>[^\"]+)\"")


class WrongBlockError(ValueError):
    """A block is not written as it has to be."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: The file that it is in.
        line: The number of its first line of code.
        language: One of `LANGUAGES`.
        title: The file that it is, or "".
        code: Its text, with the end of its last line.
        not_run: Why it is not run, or "".
        needs: The programs and modules that it needs.
    """

    page: Path
    line: int
    language: str
    title: str
    code: str
    not_run: str = ""
    needs: tuple[str, ...] = ()

    def __str__(self):
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in their order.

    Raises:
        WrongBlockError: One has no language, or an unknown one, or no end.
    """
    found = []
    notes: dict[str, str] = {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if note := _NOTE.fullmatch(line):
            notes[note["kind"]] = note["value"]
            continue
        if not (start := _FENCE.fullmatch(line)):
            # A note is for the block right below it.
            if line.strip():
                notes.clear()
            continue
        end = start["indent"] + start["fence"]
        code = []
        for _, inside in lines:
            if inside.rstrip() == end:
                break
            code.append(inside)
        else:
            raise WrongBlockError(f"{page.name}:{number}: the block has no end")
        language, _, options = start["info"].strip().partition(" ")
        if language not in LANGUAGES:
            raise WrongBlockError(
                f"{page.name}:{number}: {language!r} is none of {', '.join(LANGUAGES)}"
            )
        title = _TITLE.search(options)
        found.append(
            Block(
                page=page,
                line=number + 1,
                language=language,
                title=title["title"] if title else "",
                code=textwrap.dedent("\n".join(code)) + "\n",
                not_run=notes.get("not run", ""),
                needs=tuple(re.split(r",\s*", notes["needs"])) if "needs" in notes else (),
            )
        )
        notes.clear()
    return found


_NAMES = re.compile(
    r"""(?: SageMakerConfig\( | SageMakerTransportFactory\( | endpoint_name\s*=\s*
          | \s-e\s+ | --endpoint-name[\s=] | \bdoctor\s+ )
        \s* ["']? (?P<name> [A-Za-z0-9] [A-Za-z0-9-]{0,62} ) (?: \b | $ )""",
    re.VERBOSE,
)
_REGIONS = re.compile(r"\b(?:us|eu|ap|sa|ca|me|af|il|mx|cn)-(?:gov-)?[a-z]+-\d\b")
_PROFILES = re.compile(r"""(?:--profile[\s=]+|profile_name=|AWS_PROFILE=)["']?([\w-]+)""")
_FIRST = ("local", "us-east-1")


def profiles_of(blocks: list[Block]) -> list[str]:
    """Return the AWS profiles that blocks name."""
    text = "\n".join(block.code for block in blocks if not block.not_run)
    return sorted({"default", *_PROFILES.findall(text)})


def endpoints_of(blocks: list[Block]) -> tuple[list[str], list[str]]:
    """Return the names of endpoints and the regions that blocks have, the usual ones first."""
    text = "\n".join(block.code for block in blocks if not block.not_run)
    names = [found["name"] for found in _NAMES.finditer(text)]
    return (
        list(dict.fromkeys([_FIRST[0], *names])),
        list(dict.fromkeys([_FIRST[1], *_REGIONS.findall(text)])),
    )
