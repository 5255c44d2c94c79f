"""`transcribe`: recordings in, a row for each channel of each recording out."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import ray.data

from deepgram_sagemaker.conversations.figures import Figures
from deepgram_sagemaker.conversations.reasons import ConversationError
from deepgram_sagemaker.conversations.recording import Recording, Sound

from .batch import Batch, Pool, checked_query, run
from .places import Places
from .rows import TRANSCRIPTS, transcript_rows

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

__all__ = ["AudioLostError", "Transcription", "transcribe"]

# Messages of audio per second of wall clock: enough for an even pace, and cheap.
_MESSAGES: Final = 10
_LONGEST: Final = 1.0
_FASTEST: Final = 100.0

type _Recordings = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Dataset


class AudioLostError(ConversationError):
    """Not all of a recording was told exactly once."""


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
    query: Mapping[str, Any],
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
    """Transcribe recordings."""
    parameters = checked_query(query)
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
    items = _items(recordings, places, file_extensions)
    return run(batch, *items)


def _items(
    recordings: _Recordings, places: Places, file_extensions: Sequence[str] | None
) -> tuple[pa.Table | Dataset, list[str]]:
    """Return what is to be done, and what it is called."""
    if isinstance(recordings, ray.data.Dataset):
        columns = recordings.columns() or []
        if "path" not in columns:
            raise ValueError(f"the Dataset needs a column 'path', and has {', '.join(columns)}")
        rows = recordings.select_columns(["path"]).iter_batches(
            batch_size=None, batch_format="pyarrow"
        )
        names = [str(name) for table in rows for name in table["path"].to_pylist()]
        if "bytes" in columns:
            if len(set(names)) < len(names):
                raise ValueError("two rows have the same path, and may have different bytes")
            return recordings, names
        names = list(dict.fromkeys(names))
    else:
        single = isinstance(recordings, str | os.PathLike)
        names = places.files([recordings] if single else list(recordings), file_extensions)
    return pa.table({"path": pa.array(names, pa.string())}), names
