"""`transcribe`: recordings in, a row for each channel of each recording out."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import ray.data

from deepgram_sagemaker.conversations.figures import Figures
from deepgram_sagemaker.conversations.query import FLUX, NOVA
from deepgram_sagemaker.conversations.recording import Recording, Sound

from .batch import Batch, Pool, checked_query, run
from .places import Places
from .rows import TRANSCRIPTS, transcript_rows
from .work import AudioLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from ray.data import Dataset

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.conversations.caller import Caller
    from deepgram_sagemaker.conversations.figures import Final as Result
    from deepgram_sagemaker.conversations.pipes import Read
    from deepgram_sagemaker.conversations.query import Query

    from .rows import Format
    from .storage import Storage

__all__ = ["Transcription", "transcribe"]

# Messages of audio per second of wall clock: enough for an even pace, and cheap.
_MESSAGES: Final = 10
_LONGEST: Final = 1.0
_FASTEST: Final = 100.0

type _Recordings = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Dataset


class _Unwatched:
    """Nobody looks at results before the end."""

    def interim(self, start: float, end: float, transcript: str) -> None: ...
    def final(self, final: Result) -> None: ...


@dataclass(frozen=True, slots=True)
class Transcription:
    """What is done with one recording.

    Attributes:
        places: Where recordings are.
        query: Deepgram's parameters, `model` included.
        flux: Whether to use `v2/listen`.
        speed: Speed of each stream, in times real time.
    """

    places: Places
    query: Query
    flux: bool
    speed: float

    @property
    def schema(self) -> pa.Schema:
        """The columns of its rows."""
        return TRANSCRIPTS

    async def do(
        self, caller: Caller, storage: Storage, item: dict[str, Any], attempt: int
    ) -> list[dict[str, Any]]:
        """Stream a recording; return a row for each of its channels.

        Raises:
            SageMakerError: The transport gave up.
            ConversationError: The service ended the conversation early, or audio has no result.
            AudioError: The recording is no audio that can be streamed.
            OSError: It cannot be read.
        """
        path = item["path"]
        figures = Figures()
        await caller.converse(
            self._recording(storage, path, item.get("bytes")),
            self.query,
            _Unwatched(),
            speed=self.speed,
            flux=self.flux,
            figures=figures,
            chunk=min(_LONGEST, self.speed / _MESSAGES),
        )
        if figures.lost or figures.repeated:
            raise AudioLostError(
                f"not all of the audio was told exactly once: {figures.lost:.3f} s lost, "
                f"{figures.repeated:.3f} s repeated"
            )
        return transcript_rows(path, figures, attempt)

    def _recording(self, storage: Storage, path: str, content: bytes | None) -> Recording:
        name = path.rpartition("/")[2]
        if content is not None:
            return Recording.stored(name, lambda: _held(content), self.query)

        @asynccontextmanager
        async def opened() -> AsyncIterator[Read]:
            place = await storage.run(self.places.place, path)
            async with storage.reading(place) as read:
                yield read

        return Recording.stored(name, opened, self.query)


@asynccontextmanager
async def _held(content: bytes) -> AsyncIterator[Read]:
    """Read bytes that are in memory."""
    rest = memoryview(content)

    async def read(size: int) -> bytes:
        nonlocal rest
        data, rest = rest[:size], rest[size:]
        return bytes(data)

    yield read


def transcribe(
    recordings: _Recordings,
    *,
    config: SageMakerConfig,
    query: Mapping[str, Any] | None = None,
    flux: bool = False,
    output: str | os.PathLike[str] | None = None,
    format: Format = "parquet",  # noqa: A002 - as in other libraries
    streams: int = 50,
    workers: int | tuple[int, int] = 2,
    num_cpus: float = 1.0,
    speed: float = 1.0,
    attempts: int = 3,
    retry_failed: bool = True,
    file_extensions: Sequence[str] | None = None,
    filesystem: Any = None,  # noqa: ANN401 - pyarrow's or fsspec's
    ray_remote_args: Mapping[str, Any] | None = None,
) -> Dataset:
    """Transcribe recordings on Ray's workers; return a row for each channel of each recording.

    It runs when it is called, and may be stopped at any time: with an `output`, the same call does
    only what is missing. A recording that fails is a row with its error, and the others go on.

    Args:
        recordings: A file or a folder, or several: paths of this machine, which every worker must
            be able to read, `s3://` or `gs://`. Folders are read with all folders in them, without
            what begins with a dot. Or a Ray Dataset with a column `path`, and perhaps a column
            `bytes` with each file's content. What is no WAV file is decoded by ffmpeg; if the query
            has `encoding`, all files are raw audio.
        config: The endpoint. It is sent to the workers, so it has no `boto3_session`.
        query: Deepgram's parameters. If they have no `model`, it is `nova-3`, or with `flux`
            `flux-general-en`.
        flux: Whether to use `v2/listen`, and not `v1/listen`.
        output: The folder of the results. None: they are only returned, and what a stopped call has
            done is lost.
        format: The form of the results: `parquet` or `jsonl`.
        streams: Sessions at once, over all workers.
        workers: Ray actors: how many, or the fewest and the most.
        num_cpus: Processors that Ray reserves for each worker.
        speed: Speed of each stream, in times real time, at most 100.
        attempts: The most sessions for one recording whose failures may pass.
        retry_failed: Whether recordings that failed in an earlier call are tried again.
        file_extensions: Endings, such as `wav`, of the files to take from folders; None: all files.
        filesystem: The file system of all paths, of the output too: pyarrow's or fsspec's. None:
            each path's own.
        ray_remote_args: Further options of `map_batches` for the workers, such as `resources` or
            `runtime_env`.

    Returns:
        A Dataset with the columns `path`, `channel`, `text`, `words` (`word`, `start`, `end`,
        `confidence`, `speaker`), `segments` (`start`, `end`, `text`, `turn`), `seconds` (of audio),
        `attempts`, `resets` and `error` (`type`, `message`, `status`, `code`, `reason`), which is
        null if the recording was transcribed. Times are in seconds. It reads `output`, or is in
        Ray's memory.

    Raises:
        SageMakerError: The endpoint, the caller or the parameters are at fault, so every recording
            would fail.
        OutputError: The output belongs to another batch.
        OutputBusyError: Another run writes to the output.
        FileNotFoundError: The only path does not exist.
        OSError: A folder cannot be listed, or the output cannot be read or written.
        TypeError: The config cannot be sent to workers.
        ValueError: A value is not allowed.
    """
    parameters = checked_query(query, FLUX if flux else NOVA)
    if not 0 < speed <= _FASTEST:
        raise ValueError(f"speed={speed!r}: must be above 0 and at most {_FASTEST:g}")
    # What every recording would fail with is said before anything begins.
    Sound.of_query(parameters)
    places = Places(filesystem)
    batch = Batch(
        kind="transcribe",
        task=Transcription(places, parameters, flux, speed),
        facts={"query": parameters, "flux": flux},
        config=config,
        pool=Pool(streams, workers, num_cpus, dict(ray_remote_args or {})),
        attempts=attempts,
        output=output,
        form=format,
        retry_failed=retry_failed,
        places=places,
    )
    return run(batch, *_items(recordings, places, file_extensions, output))


def _items(
    recordings: _Recordings,
    places: Places,
    file_extensions: Sequence[str] | None,
    output: str | os.PathLike[str] | None,
) -> tuple[pa.Table | Dataset, list[str]]:
    """Return what is to be done, and what it is called."""
    if isinstance(recordings, ray.data.Dataset):
        columns = recordings.columns()
        if columns is None:
            return pa.table({"path": pa.array([], pa.string())}), []
        if "path" not in columns:
            raise ValueError(f"the Dataset needs a column 'path', and has {', '.join(columns)}")
        rows = recordings.select_columns(["path"]).iter_batches(
            batch_size=None, batch_format="pyarrow"
        )
        names = [_named(name) for table in rows for name in table["path"].to_pylist()]
        if "bytes" in columns:
            if len(set(names)) < len(names):
                raise ValueError("two rows have the same path, and may have different bytes")
            return recordings, names
        names = list(dict.fromkeys(names))
    else:
        roots = [recordings] if isinstance(recordings, str | os.PathLike) else list(recordings)
        if output is not None:
            _keep_apart([places.place(root).shown for root in roots], places.place(output).shown)
        names = places.files(roots, file_extensions)
    return pa.table({"path": pa.array(names, pa.string())}), names


def _named(path: object) -> str:
    if not isinstance(path, str):
        raise TypeError(f"the Dataset's column 'path' has {path!r}, which is no path")
    return path


def _keep_apart(roots: Sequence[str], output: str) -> None:
    """Raise an error if results would be taken for recordings."""
    inner = os.path.realpath(output) if output.startswith("/") else output
    for root in roots:
        outer = os.path.realpath(root) if root.startswith("/") else root
        if f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/"):
            raise ValueError(
                f"output={output}: must not be within {root}, which has the recordings"
            )
