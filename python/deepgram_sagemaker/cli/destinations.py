"""Where transcripts go: standard output, a file, or a file for each recording in a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .transcripts import Format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["STANDARD_INPUT", "DestinationError", "destinations", "save"]

STANDARD_INPUT: Final = "-"
_SUFFIXES: Final = {f".{form.value}": form for form in Format} | {".jsonl": Format.JSON}


class DestinationError(ValueError):
    """The output does not fit the inputs or the forms."""


def destinations(
    inputs: Sequence[str], forms: Sequence[Format], output: str | None
) -> list[Mapping[Format, Path | None]]:
    """Return for each input where each form of its transcript goes; None: standard output.

    A folder is made if it does not exist.

    Args:
        inputs: The recordings.
        forms: The forms that were asked for; none: the output's suffix says it, or text.
        output: A file; a folder, if it exists or ends with a slash; None or `-`: standard output.

    Raises:
        DestinationError: The output cannot take them.
        OSError: The folder cannot be made.
    """
    if output is None or output == "-":
        return _standard_output(inputs, list(forms) or [Format.TEXT])
    folder = Path(output)
    several = output.endswith("/") or folder.is_dir()
    if several:
        found = _in_folder(folder, inputs, list(forms) or [Format.TEXT])
    else:
        found = [_file(folder, inputs, forms)]
    paths = [path for each in found for path in each.values() if path is not None]
    for path in paths:
        if any(_is_same(path, each) for each in inputs):
            raise DestinationError(f"{path} is a recording itself")
    if several:
        folder.mkdir(parents=True, exist_ok=True)
    return found


def _standard_output(
    inputs: Sequence[str], forms: Sequence[Format]
) -> list[Mapping[Format, Path | None]]:
    if len(forms) > 1:
        raise DestinationError("standard output takes one form; give a folder")
    if forms[0] in (Format.SRT, Format.VTT) and len(inputs) > 1:
        raise DestinationError("subtitles of several recordings need a folder")
    return [{forms[0]: None} for _ in inputs]


def _in_folder(
    folder: Path, inputs: Sequence[str], forms: Sequence[Format]
) -> list[Mapping[Format, Path | None]]:
    stems = ["standard-input" if each == STANDARD_INPUT else Path(each).stem for each in inputs]
    for stem, count in Counter(stems).items():
        if count > 1:
            raise DestinationError(f"{count} recordings would be written to {folder / stem}.*")
    return [{form: folder / f"{stem}.{form.value}" for form in forms} for stem in stems]


def _file(path: Path, inputs: Sequence[str], forms: Sequence[Format]) -> Mapping[Format, Path]:
    if len(inputs) > 1:
        raise DestinationError(f"{path} takes one recording; give a folder, such as {path}/")
    if len(forms) > 1:
        raise DestinationError(f"{path} takes one form; give a folder, such as {path}/")
    return {forms[0] if forms else _SUFFIXES.get(path.suffix.lower(), Format.TEXT): path}


def _is_same(path: Path, name: str) -> bool:
    # The microphone has a name, too, and no file.
    return path.exists() and Path(name).exists() and path.samefile(name)


def save(path: Path, content: str | bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: It cannot be written; what was there before is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        # A pipe or a device cannot be replaced.
        path.write_bytes(data)
        return
    draft = path.with_name(f".{path.name}.part")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
