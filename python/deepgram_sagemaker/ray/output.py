"""What a batch has finished, in a folder: so that the same call does only what is missing.

| Name | Content |
| --- | --- |
| `part-*.parquet`, `part-*.jsonl` | rows of what succeeded, of many recordings each |
| `_batch.json` | what the batch is: its kind, its parameters, its form |
| `_progress/` | a file for each recording that is finished and in no part yet |
| `_errors/` | rows of what failed |
| `_run.json` | the lease of the run that is writing |

Names that begin with an underscore are ignored by what reads folders of Parquet. Workers write to
`_progress` alone, each recording under a name of its own, so it may be done twice without harm.
Only the driver writes parts: first the part, then it removes the files in `_progress`. So whenever
a process ends, each finished recording is in a part, in `_progress`, or in both.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from .places import Place, drafts_in, files_in, make_folder, remove, write_whole
from .rows import as_table, in_format, key_of, names_in, read_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ray import ObjectRef
    from ray.data import Dataset

    from .rows import Format

__all__ = ["LEASE_FILE", "Finished", "Output", "OutputError", "Results", "read_parts"]

LEASE_FILE: Final = "_run.json"
"""The lease of the run that is writing."""

_VERSION: Final = 1
# In place of a part's path.
_FAILED: Final = ""
_MANIFEST: Final = "_batch.json"
_PROGRESS: Final = "_progress"
_ERRORS: Final = "_errors"
# Requests to a file system at once.
_THREADS: Final = 16
# A part is written when it has so many recordings, or so many bytes in memory.
_PART_NAMES: Final = 1_000
_PART_BYTES: Final = 64 * 1024 * 1024


class OutputError(ValueError):
    """The output cannot take this batch."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A recording that is finished, in `_progress`.

    Attributes:
        name: What its rows are about.
        run: The run in which it was finished.
        rows: Its rows.
    """

    name: str
    run: str
    rows: list[dict[str, Any]]

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an error."""
        return any(row.get("error") is not None for row in self.rows)


@dataclass(frozen=True, slots=True)
class Output:
    """The folder, as workers see it.

    Attributes:
        place: Where it is.
        schema: The columns.
        form: The form of its parts.
        rows: The folder of its parts, below it; empty: it is the folder itself.
    """

    place: Place
    schema: pa.Schema
    form: Format
    rows: str = ""

    def progress(self, name: str) -> Place:
        """Return the file that says that something is finished."""
        key = hashlib.sha256(name.encode()).hexdigest()[:40]
        return self.place.below(f"{_PROGRESS}/{key}.json")

    def finish(self, name: str, run: str, rows: list[dict[str, Any]]) -> None:
        """Keep a recording's rows.

        Raises:
            OSError: They cannot be written.
        """
        content = {"name": name, "run": run, "rows": rows}
        write_whole(self.progress(name), json.dumps(content, ensure_ascii=False).encode())

    def finished(self, name: str) -> Finished | None:
        """Return a recording that is finished and in no part yet; None: it is not.

        Raises:
            OSError: It cannot be read.
        """
        return self.read(self.progress(name))

    def read(self, file: Place) -> Finished | None:
        """Return what a file in `_progress` says; None: it is not there, or says nothing.

        Raises:
            OSError: It cannot be read.
        """
        try:
            with file.filesystem.open_input_file(file.path) as stream:
                found = json.loads(stream.read())
            as_table(found["rows"], self.schema)
            return Finished(str(found["name"]), str(found["run"]), found["rows"])
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            # What was cut off by the end of a machine is no result. Arrow's errors are among these.
            return None


class Results:
    """The folder, as the driver sees it.

    Args:
        output: The folder.
        facts: What the batch is. Another call has to be the same.
        retry_failed: Whether what failed earlier is to be tried again.
    """

    def __init__(self, output: Output, facts: Mapping[str, Any], *, retry_failed: bool) -> None:
        self._output = output
        self._facts = json.loads(json.dumps({"version": _VERSION, **facts}))
        self._retry_failed = retry_failed
        self._key = key_of(output.schema)
        self._parts: list[Place] = []
        # What has succeeded, in parts or in the buffer, and what has failed.
        self._succeeded: set[str] = set()
        self._failed: dict[str, dict[str, Any]] = {}
        self._buffer: list[pa.Table] = []
        self._buffered: set[str] = set()
        self._bytes = 0

    def begin(self) -> None:
        """Make the folder, or read what earlier runs of the same batch have finished.

        Raises:
            OutputError: It belongs to another batch, or to something else.
            OSError: It cannot be read or written.
        """
        place = self._output.place
        found = _read_json(place.below(_MANIFEST))
        if found is not None:
            self._compare(found)
            self._load()
            return
        others = [each.shown for each in files_in(place) if not each.shown.endswith(LEASE_FILE)]
        if others:
            raise OutputError(
                f"{place.shown} has other files, such as {others[0]}: give a folder of its own"
            )
        for folder in (_PROGRESS, _ERRORS, self._output.rows):
            make_folder(place.below(folder))
        content = json.dumps(self._facts, indent=1, sort_keys=True, ensure_ascii=False)
        write_whole(place.below(_MANIFEST), content.encode())

    def _compare(self, found: Any) -> None:  # noqa: ANN401 - JSON
        if not isinstance(found, dict):
            raise OutputError(_broken(self._output.place.below(_MANIFEST)))
        for name in sorted({*found, *self._facts}):
            before, now = found.get(name), self._facts.get(name)
            if before != now:
                raise OutputError(
                    f"{self._output.place.shown} was begun with {name}={before!r}, and this call "
                    f"has {name}={now!r}: give another output, or the same parameters"
                )

    def _load(self) -> None:
        place, stale = self._output.place, []
        rows = files_in(place.below(self._output.rows))
        self._parts = [each for each in rows if _is_part(each)]
        with ThreadPoolExecutor(_THREADS) as pool:
            for names in pool.map(self._names, self._parts):
                self._succeeded |= names
            for table in pool.map(self._table, files_in(place.below(_ERRORS))):
                for row in table.to_pylist():
                    # One that has succeeded since, in a run that did not come to its end.
                    if row[self._key] not in self._succeeded:
                        self._failed[row[self._key]] = row
            progress = files_in(place.below(_PROGRESS))
            for each, finished in zip(progress, pool.map(self._output.read, progress), strict=True):
                if finished is None:
                    continue
                if finished.name in self._succeeded:
                    # The driver that wrote the part ended before it removed this.
                    stale.append(each)
                else:
                    self.add(as_table(finished.rows, self._output.schema))
        _remove(stale)

    def _names(self, part: Place) -> set[str]:
        return self._read(part, names_in)

    def _table(self, part: Place) -> pa.Table:
        return self._read(part, read_rows)

    def _read[T](self, part: Place, how: Callable[[Place, pa.Schema, Format], T]) -> T:
        try:
            return how(part, self._output.schema, self._output.form)
        except (ValueError, KeyError) as error:
            raise OutputError(
                f"{part.shown} cannot be read ({error}): if you remove it, its recordings are done "
                "again"
            ) from error

    def is_done(self, name: str) -> bool:
        """Return whether this call has nothing to do about it."""
        return name in self._succeeded or (not self._retry_failed and name in self._failed)

    @property
    def has_succeeded(self) -> bool:
        """Whether anything has."""
        return bool(self._succeeded)

    @property
    def told(self) -> set[str]:
        """What has a row, with an error or without."""
        return self._succeeded | self._failed.keys()

    def add(self, table: pa.Table) -> None:
        """Take rows of what is finished, all rows of each."""
        # Rows come twice if a worker was killed after it had handed them over.
        names = table[self._key].to_pylist()
        table = table.filter(pa.array([name not in self._succeeded for name in names], pa.bool_()))
        has_failed = pc.is_valid(table["error"])
        for row in table.filter(has_failed).to_pylist():
            self._failed[row[self._key]] = row
        table = table.filter(pc.invert(has_failed))
        names = set(table[self._key].to_pylist())
        if not names:
            return
        self._succeeded |= names
        for name in names:
            self._failed.pop(name, None)
        self._buffer.append(table)
        self._buffered |= names
        self._bytes += table.nbytes
        if len(self._buffered) >= _PART_NAMES or self._bytes >= _PART_BYTES:
            self._write_part()

    def finish(self) -> None:
        """Write what is left, and leave nothing but parts and errors.

        Raises:
            OSError: It cannot be written.
        """
        if self._buffer:
            self._write_part()
        place = self._output.place
        before = files_in(place.below(_ERRORS))
        if self._failed:
            table = as_table(self._failed.values(), self._output.schema)
            name = f"{_ERRORS}/errors-{uuid.uuid4().hex}.{self._output.form}"
            write_whole(place.below(name), in_format(table, self._output.form))
        _remove(before)
        _remove(files_in(place.below(_PROGRESS)))
        for folder in ("", self._output.rows, _PROGRESS, _ERRORS):
            _remove(drafts_in(place.below(folder)))

    def _write_part(self) -> None:
        table, names = pa.concat_tables(self._buffer), self._buffered
        key = hashlib.sha256("\0".join(sorted(names)).encode()).hexdigest()[:20]
        output = self._output
        part = output.place.below(output.rows).below(f"part-{key}.{output.form}")
        write_whole(part, in_format(table, output.form))
        self._parts.append(part)
        self._buffer, self._buffered, self._bytes = [], set(), 0
        _remove([output.progress(name) for name in names])

    def dataset(self, names: Iterable[str]) -> Dataset:
        """Return the rows about these names, as a Dataset that reads the parts."""
        wanted = set(names)
        failed = [row for name, row in self._failed.items() if name in wanted]
        # Most calls are about all that there is.
        keep = None if self._succeeded <= wanted else ray.put(wanted)
        # Not `from_arrow` and `union`, for which Ray starts tasks at once.
        return ray.data.from_items([*(part.path for part in self._parts), _FAILED]).map_batches(
            read_parts,
            batch_size=1,
            batch_format="pyarrow",
            fn_kwargs={
                "output": self._output,
                "keep": keep,
                "failed": ray.put(as_table(failed, self._output.schema)),
            },
        )


def read_parts(
    batch: pa.Table,
    output: Output,
    keep: ObjectRef[set[str]] | None,
    failed: ObjectRef[pa.Table],
) -> pa.Table:
    """Return the rows in parts.

    Args:
        batch: The paths of the parts, in the column `item`; an empty one stands for what failed.
        output: The folder.
        keep: What the rows to return are about; None: all of them.
        failed: The rows of what failed, to return as they are.
    """
    system, schema = output.place.filesystem, output.schema
    tables = [schema.empty_table()]
    for path in batch["item"].to_pylist():
        if path == _FAILED:
            tables.append(ray.get(failed))
            continue
        table = read_rows(Place(system, path, path), schema, output.form)
        if keep is not None:
            wanted = pa.array(list(ray.get(keep)), pa.string())
            table = table.filter(pc.is_in(table[key_of(schema)], wanted))
        tables.append(table)
    return pa.concat_tables(tables)


def _is_part(place: Place) -> bool:
    return place.path.rpartition("/")[2].startswith("part-")


def _read_json(place: Place) -> Any:  # noqa: ANN401 - JSON
    """Return a file's content; None: there is none.

    Raises:
        OutputError: It is not JSON.
        OSError: It cannot be read.
    """
    try:
        with place.filesystem.open_input_file(place.path) as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None
    except ValueError:
        raise OutputError(_broken(place)) from None


def _broken(manifest: Place) -> str:
    return (
        f"{manifest.shown} cannot be read, so nothing says what this output is: give another one. "
        "If you remove the file, and all others with it, the batch begins anew"
    )


def _remove(files: Sequence[Place]) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(remove, files))
