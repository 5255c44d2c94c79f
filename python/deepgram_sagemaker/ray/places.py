"""Paths and the file systems that they are in: this machine's, S3, Google's, or one that is given.

A path of a file system that is given is passed on as it is. Without one, `s3://` and `gs://` name a
bucket, and anything else is on this machine. Paths are taken literally: `#`, `%` and `=` are
part of a name. Names are text: one that is not UTF-8 could not stand in a row.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from pyarrow import fs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Place", "Places", "drafts_in", "files_in", "make_folder", "remove", "write_whole"]

_BUCKETS: Final = ("s3", "s3a", "gs", "gcs")
# The stores that show an object once it is whole.
_OBJECT_STORES: Final = ("s3", "gcs", "abfs")
# How the name ends of what is being written.
_DRAFT: Final = ".part"


@dataclass(frozen=True, slots=True)
class Place:
    """A file or a folder.

    Attributes:
        filesystem: Where it is.
        path: Its path there.
        shown: Its path as people write it, which leads back here.
    """

    filesystem: fs.FileSystem
    path: str
    shown: str

    @property
    def is_stored_object(self) -> bool:
        """Whether it is in a store of objects, which has no folders and shows what is whole."""
        return self.filesystem.type_name in _OBJECT_STORES

    def below(self, name: str) -> Place:
        """Return what is in this folder."""
        if not name:
            return self
        path, shown = self.path.rstrip("/"), self.shown.rstrip("/")
        return Place(self.filesystem, f"{path}/{name}", f"{shown}/{name}")

    @property
    def above(self) -> Place:
        """The folder that it is in."""
        return Place(self.filesystem, self.path.rpartition("/")[0], self.shown.rpartition("/")[0])


@dataclass(slots=True)
class Places:
    """Finds places by their paths.

    Attributes:
        filesystem: The file system of all paths: pyarrow's or fsspec's; None: each path's own.
    """

    filesystem: Any = None
    _buckets: dict[str, fs.FileSystem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = self.filesystem
        if given is not None and not isinstance(given, fs.FileSystem):
            self.filesystem = fs.PyFileSystem(fs.FSSpecHandler(given))

    def __getstate__(self) -> tuple[Any, ...]:
        # Another machine finds its own way to a bucket.
        return (self.filesystem,)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        (self.filesystem,) = state
        self._buckets = {}

    def place(self, path: str | os.PathLike[str]) -> Place:
        """Return where a path leads.

        Raises:
            ValueError: Its scheme is not known and no file system is given, or it is no text.
            OSError: A bucket cannot be found.
        """
        text = _in_unicode(os.fspath(path))
        if self.filesystem is not None:
            return Place(self.filesystem, text, text)
        scheme, mark, rest = text.partition("://")
        if not mark or scheme == "file":
            # Without `..`, so that a file has one path; a link stays another one.
            text = os.path.normpath(Path(rest if mark else text).expanduser().absolute())
            return Place(self._bucket("", ""), text, text)
        if scheme not in _BUCKETS:
            raise ValueError(
                f"{text}: give filesystem= for paths other than s3://, gs:// and files"
            )
        bucket = rest.partition("/")[0]
        return Place(self._bucket(scheme, bucket), rest, text)

    def _bucket(self, scheme: str, bucket: str) -> fs.FileSystem:
        key = f"{scheme}://{bucket}"
        if key not in self._buckets:
            self._buckets[key] = _bucket(scheme, key) if scheme else fs.LocalFileSystem()
        return self._buckets[key]

    def files(
        self, roots: Sequence[str | os.PathLike[str]], extensions: Sequence[str] | None
    ) -> list[str]:
        """Return the files that are meant, each once, in the order of the roots and of their names.

        A folder stands for all files below it, except those whose names begin with a dot. A path
        of several that does not exist is returned like a file, because whoever reads it says so.

        Args:
            roots: Files and folders.
            extensions: Endings of names, without the dot, of the files to take from folders; None:
                all of them.

        Raises:
            FileNotFoundError: The only path does not exist.
            OSError: A folder cannot be listed.
            ValueError: As `place`, or a name is no text.
        """
        endings = None if not extensions else tuple(f".{e.lstrip('.').lower()}" for e in extensions)
        found: dict[str, None] = {}
        for place in map(self.place, roots):
            info = place.filesystem.get_file_info(place.path.rstrip("/") or "/")
            if info.type == fs.FileType.NotFound and len(roots) == 1:
                raise FileNotFoundError(f"{place.shown} does not exist")
            if info.type != fs.FileType.Directory:
                found[place.shown] = None
                continue
            for below in _below(place):
                hidden = any(part.startswith(".") for part in below.split("/"))
                if not hidden and (endings is None or below.lower().endswith(endings)):
                    found[place.below(below).shown] = None
        return list(found)


def _bucket(scheme: str, uri: str) -> fs.FileSystem:
    # Only the bucket's name goes through the parser of URIs.
    if scheme in ("s3", "s3a"):
        try:
            # A small object is then one request, and not three.
            return fs.FileSystem.from_uri(f"{uri}?allow_delayed_open=true")[0]
        except pa.ArrowInvalid:
            # Earlier releases have no such parameter.
            pass
    return fs.FileSystem.from_uri(uri)[0]


def _in_unicode(path: str | bytes) -> str:
    try:
        text = path.decode() if isinstance(path, bytes) else path
        text.encode()
    except UnicodeError:
        raise ValueError(f"{path!r}: the name must be UTF-8") from None
    return text


def _below(folder: Place) -> list[str]:
    """Return the paths of the files in a folder and in all folders below it, sorted."""
    if isinstance(folder.filesystem, fs.LocalFileSystem):
        return sorted(_walked(Path(folder.path)))
    inner = folder.path.rstrip("/")
    listed = folder.filesystem.get_file_info(fs.FileSelector(inner, recursive=True))
    # A file system may give its paths with or without the slash in front.
    start = len(inner.lstrip("/"))
    return sorted(
        each.path.lstrip("/")[start:].lstrip("/")
        for each in listed
        if each.type == fs.FileType.File
    )


def _walked(root: Path) -> Iterator[str]:
    """Yield the paths of files of this machine, of each folder once, wherever links lead."""
    seen: set[tuple[int, int]] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        info = folder.stat()
        if (info.st_dev, info.st_ino) in seen:
            continue
        seen.add((info.st_dev, info.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                _in_unicode(entry.path)
                if entry.is_dir():
                    waiting.append(Path(entry.path))
                elif entry.is_file():
                    yield Path(entry.path).relative_to(root).as_posix()


def files_in(folder: Place) -> list[Place]:
    """Return the files in a folder, not those in folders below it; none if there is no folder.

    Raises:
        OSError: It cannot be listed.
    """
    selector = fs.FileSelector(folder.path.rstrip("/"), allow_not_found=True)
    found = folder.filesystem.get_file_info(selector)
    names = sorted(each.base_name for each in found if each.type == fs.FileType.File)
    # What a write has left that was cut off.
    return [folder.below(name) for name in names if not name.startswith(".")]


def make_folder(folder: Place) -> None:
    """Make a folder, and those above it, where a file system has folders.

    Raises:
        OSError: It cannot be made.
    """
    if not folder.is_stored_object:
        folder.filesystem.create_dir(folder.path, recursive=True)


def drafts_in(folder: Place) -> list[Place]:
    """Return what writes that were cut off have left in a folder.

    Raises:
        OSError: It cannot be listed.
    """
    selector = fs.FileSelector(folder.path.rstrip("/"), allow_not_found=True)
    names = [each.base_name for each in folder.filesystem.get_file_info(selector)]
    return [folder.below(name) for name in names if name.startswith(".") and name.endswith(_DRAFT)]


def remove(file: Place) -> None:
    """Remove a file, if it is there.

    Raises:
        OSError: It cannot be removed.
    """
    try:
        file.filesystem.delete_file(file.path)
    except FileNotFoundError:
        return


def write_whole(file: Place, data: bytes) -> None:
    """Write a file so that others see all of it or none of it, also after a loss of power.

    Raises:
        OSError: It cannot be written.
    """
    system, path = file.filesystem, file.path
    if file.is_stored_object:
        with system.open_output_stream(path) as stream:
            stream.write(data)
        return
    folder, slash, name = path.rpartition("/")
    draft = f"{folder}{slash}.{name}.{os.getpid()}.{threading.get_ident()}{_DRAFT}"
    try:
        if isinstance(system, fs.LocalFileSystem):
            with Path(draft).open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        else:
            with system.open_output_stream(draft) as stream:
                stream.write(data)
        system.move(draft, path)
    except BaseException:
        with suppress(OSError):
            system.delete_file(draft)
        raise
