"""`speak`: texts in, a file of audio and a row for each out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray.data

from deepgram_sagemaker.conversations.caller import streams_of
from deepgram_sagemaker.conversations.query import AURA, FLUX_TTS
from deepgram_sagemaker.conversations.speech_file import SpeechFile
from deepgram_sagemaker.conversations.voice import Voice

from .batch import Batch, Pool, checked_query, run
from .places import Place, Places, make_folder, write_whole
from .rows import SPOKEN

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from ray.data import Dataset

    from deepgram_sagemaker.config import SageMakerConfig
    from deepgram_sagemaker.conversations.caller import Caller
    from deepgram_sagemaker.conversations.query import Query

    from .rows import Format
    from .storage import Storage

__all__ = ["Speech", "speak"]

_AUDIO = "audio"
_ROWS = "rows"


@dataclass(frozen=True, slots=True)
class Speech:
    """What is done with one text.

    Attributes:
        folder: Where the files go.
        query: Deepgram's parameters, with those of the files.
        flux: Whether to use `v2/speak`.
        file: The form of the files.
        extension: Their suffix, without the dot.
    """

    folder: Place
    query: Query
    flux: bool
    file: SpeechFile
    extension: str

    @property
    def schema(self) -> pa.Schema:
        """The columns of its rows."""
        return SPOKEN

    async def do(
        self, caller: Caller, storage: Storage, item: dict[str, Any], attempt: int
    ) -> list[dict[str, Any]]:
        """Have a text spoken and write its file; return its row.

        Raises:
            SageMakerError: The transport gave up.
            ConversationError: The service refused something, or ended early.
            ValueError: There is no text.
            OSError: The file cannot be written.
        """
        name, text = item["id"], item["text"] or ""
        if not text.strip():
            raise ValueError("there is no text to speak")
        voice = Voice(flux=self.flux)
        with caller.watched() as opened:
            await voice.speak(caller.client, text, self.query)
        audio = bytes(voice.audio)
        target = self.folder.below(f"{name}.{self.extension}")
        await storage.run(_write, target, self.file.written(audio))
        return [
            {
                "id": name,
                "path": target.shown,
                "seconds": round(self.file.seconds(audio), 6),
                "characters": len(text),
                "warnings": voice.warnings,
                "attempts": attempt,
                "resets": sum(streams_of(opened).resets.values()),
                "error": None,
            }
        ]


def _write(target: Place, content: bytes) -> None:
    make_folder(target.above)
    write_whole(target, content)


def speak(
    texts: Iterable[Mapping[str, str]] | Dataset,
    *,
    config: SageMakerConfig,
    output: str | os.PathLike[str],
    query: Mapping[str, Any] | None = None,
    flux: bool = False,
    extension: str = "wav",
    format: Format = "parquet",  # noqa: A002 - as in other libraries
    streams: int = 20,
    workers: int | tuple[int, int] = 2,
    num_cpus: float = 1.0,
    attempts: int = 3,
    retry_failed: bool = True,
    filesystem: Any = None,  # noqa: ANN401 - pyarrow's or fsspec's
    ray_remote_args: Mapping[str, Any] | None = None,
) -> Dataset:
    """Have texts spoken, each into a file, on Ray's workers; return a row for each.

    It runs when it is called, and may be stopped at any time: the same call does what is missing.

    Args:
        texts: Rows with `id` and `text`; or a Ray Dataset of such rows. The id is the file's name
            without its suffix, and may have folders: `2026/greeting`.
        config: The endpoint. It is sent to the workers, so it has no `boto3_session`.
        output: The folder: audio in `audio`, rows in `rows`.
        query: Deepgram's parameters. `encoding` and `sample_rate` say how the audio is made. If
            they have no `model`, it is `aura-2-thalia-en`, or with `flux` `flux-alexis-en`.
        flux: Whether to use `v2/speak`, and not `v1/speak`.
        extension: The suffix of the audio's files, which says their form: `wav` has a header, and
            `raw`, `mulaw` or `alaw` have none.
        format: The form of the rows: `parquet` or `jsonl`.
        streams: Sessions at once, over all workers.
        workers: Ray actors: how many, or the fewest and the most.
        num_cpus: Processors that Ray reserves for each worker.
        attempts: The most sessions for one text whose failures may pass.
        retry_failed: Whether texts that failed in an earlier call are tried again.
        filesystem: The file system of the output: pyarrow's or fsspec's.
        ray_remote_args: Further options of `map_batches` for the workers, such as `resources` or
            `runtime_env`.

    Returns:
        A Dataset with the columns `id`, `path`, `seconds` (of audio), `characters`, `warnings`,
        `attempts`, `resets` and `error`, which is null if the text was spoken. It reads `output`.

    Raises:
        SageMakerError: The endpoint, the caller or the parameters are at fault, so every text would
            fail.
        OutputError: The output belongs to another batch.
        OutputBusyError: Another run writes to the output.
        OSError: The output cannot be read or written.
        TypeError: The config cannot be sent to workers, or an id is no text.
        ValueError: A value is not allowed, or two texts have the same id.
    """
    parameters = checked_query(query, FLUX_TTS if flux else AURA)
    file = SpeechFile.of(f"speech.{extension}", parameters)
    places = Places(filesystem)
    spoken = {**parameters, **file.query}
    batch = Batch(
        kind="speak",
        task=Speech(places.place(output).below(_AUDIO), spoken, flux, file, extension),
        facts={"query": spoken, "flux": flux, "extension": extension},
        config=config,
        pool=Pool(streams, workers, num_cpus, dict(ray_remote_args or {})),
        attempts=attempts,
        output=output,
        form=format,
        retry_failed=retry_failed,
        places=places,
        rows=_ROWS,
    )
    return run(batch, *_items(texts))


def _items(texts: Iterable[Mapping[str, str]] | Dataset) -> tuple[pa.Table, Sequence[str]]:
    """Return the texts as a table, and their ids."""
    if isinstance(texts, ray.data.Dataset):
        batches = texts.select_columns(["id", "text"]).iter_batches(
            batch_size=None, batch_format="pyarrow"
        )
        rows = [row for table in batches for row in table.to_pylist()]
    else:
        rows = [_row(each) for each in texts]
    names = [_checked(row["id"]) for row in rows]
    for name, text in ((row["id"], row["text"]) for row in rows):
        _check_text(name, text)
    if len(set(names)) < len(names):
        raise ValueError(f"two texts have the id {Counter(names).most_common(1)[0][0]!r}")
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    return pa.Table.from_pylist(rows, schema=schema), names


def _row(given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not {"id", "text"} <= given.keys():
        raise TypeError(f"each text is a row with `id` and `text`, not {given!r:.80}")
    return {"id": given["id"], "text": given["text"]}


def _check_text(name: str, text: object) -> None:
    if text is not None and not isinstance(text, str):
        raise TypeError(f"id={name!r}: its text must be text, not {text!r:.80}")
    try:
        (text or "").encode()
    except UnicodeError as error:
        raise ValueError(f"id={name!r}: its text is not Unicode: {error}") from None


def _checked(name: object) -> str:
    """Return an id that can be a file's name."""
    if not isinstance(name, str):
        raise TypeError(f"id={name!r}: must be text")
    parts = name.split("/")
    if any(not part or part.startswith(".") or "\0" in part or "\\" in part for part in parts):
        raise ValueError(
            f"id={name!r}: must be a file's name, or a path below the output, and no part of it "
            "begins with a dot"
        )
    return name
