"""`examples/README.md` lists every example, and its commands are those of the programs."""

import re

from examples.programs import EXAMPLES

DOCS = EXAMPLES.parent / "docs" / "examples.md"


def rows(text):
    """The cells of the table's rows."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| [")
    ]


def examples():
    """Each program, and each folder."""
    return {
        f"{path.name}/" if path.is_dir() else path.name
        for path in EXAMPLES.iterdir()
        if path.suffix == ".py" or (path.is_dir() and not path.name.startswith((".", "_")))
    }


def test_every_example_is_listed_with_its_command():
    listed = {}
    for link, what, command in rows((EXAMPLES / "README.md").read_text(encoding="utf-8")):
        name, target = re.fullmatch(r"\[(.+)\]\((.+)\)", link).groups()
        assert what.endswith(".")
        listed[name] = (EXAMPLES / target, command.strip("`"))
    assert listed.keys() == examples()
    for path, command in listed.values():
        assert path.exists()
        # The same command is at the head of the program.
        short = command.replace("captions_relay/", "").removeprefix("cd testing && ")
        assert f"    {short}\n" in path.read_text(encoding="utf-8"), command


def test_the_documentation_has_the_same():
    names = [re.match(r"\[(.+?)\]", link)[1] for link, *_ in rows(DOCS.read_text("utf-8"))]
    assert set(names) == examples()
