"""Audio to stream: WAV files, raw audio, standard input, and whatever ffmpeg reads."""

from __future__ import annotations

import asyncio
import shutil
import stat
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from deepgram_sagemaker.local.wav import AudioError, WavHeader, read_wav_header

from .pipes import reading, standard_input

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import IO

    from .pipes import Read
    from .query import Query

__all__ = ["AudioError", "Chunk", "Recording", "Sound"]

_BLOCK: Final = 1 << 16
# What is read at once while it is not known what the bytes are: more than any header's start.
_GLANCE: Final = 4096
_MOST_SAID: Final = 300
_TEMPORARY: Final = "deepgram-sagemaker-"

# The bytes and names of a WAV file's samples, by tag and bits.
_WAV: Final = {
    (1, 8): "linear8",
    (1, 16): "linear16",
    (1, 24): "linear24",
    (1, 32): "linear32-integer",
    (3, 32): "linear32",
    (3, 64): "linear64",
    (6, 8): "alaw",
    (7, 8): "mulaw",
}
# The bytes of a sample, and the sample rate if the parameters do not give it.
_RAW: Final = {
    "linear16": (2, None),
    "linear32": (4, None),
    "mulaw": (1, 8_000),
    "alaw": (1, 8_000),
}

_RIFF: Final = b"RIFF"
_SILENT: Final = "it has no audio"
_HINT: Final = (
    "Install ffmpeg to have other files decoded. If this is raw audio, the query needs encoding "
    "and sample_rate: on the command line, -p encoding=… -p sample_rate=…"
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message of audio.

    Attributes:
        data: The bytes.
        end: Seconds of audio sent when this chunk has been sent.
    """

    data: bytes
    end: float


@dataclass(frozen=True, slots=True)
class Sound:
    """The format of audio.

    Attributes:
        encoding: Deepgram's name for the encoding of one sample, where it has one.
        sample_rate: Frames per second.
        channels: Samples per frame, interleaved.
        frame_size: Bytes per frame.
    """

    encoding: str
    sample_rate: int
    channels: int
    frame_size: int

    @classmethod
    def of_wav(cls, header: WavHeader) -> Sound:
        """Return the format of a WAV file.

        Raises:
            AudioError: It cannot be streamed as it is.
        """
        encoding = _WAV.get((header.tag, header.bits))
        if encoding is None or not header.channels or not header.rate:
            raise AudioError(
                f"WAV format {header.tag} with {header.bits} bits, {header.channels} channels and "
                f"{header.rate} Hz cannot be streamed as it is"
            )
        return cls(encoding, header.rate, header.channels, header.bits // 8 * header.channels)

    @classmethod
    def of_query(cls, query: Query) -> Sound | None:
        """Return the format that Deepgram's parameters declare; None: they declare none.

        Raises:
            AudioError: They declare a format whose bytes cannot be counted in seconds.
        """
        encoding = query.get("encoding")
        if encoding is None:
            return None
        if not isinstance(encoding, str) or encoding not in _RAW:
            raise AudioError(
                f"encoding={encoding}: raw audio is {', '.join(_RAW)}. Without the parameter, "
                "ffmpeg decodes the file"
            )
        width, rate = _RAW[encoding]
        sample_rate = _whole(query, "sample_rate", rate)
        channels = _whole(query, "channels", 1)
        return cls(encoding, sample_rate, channels, width * channels)


def _whole(query: Query, name: str, default: int | None) -> int:
    value = query.get(name, default)
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number <= 0:
        raise AudioError(f"{name}={value}: raw audio needs a positive whole number")
    return number


@dataclass(frozen=True, slots=True)
class Recording:
    """Audio from one place. WAV files are streamed unchanged, header included.

    Attributes:
        name: What to call it.
        description: The recording in a few words.
        seconds: Length of its audio; None: not known before its end.
    """

    name: str
    description: str
    seconds: float | None
    _source: Callable[[], AbstractAsyncContextManager[Read]]
    _raw: Sound | None = None

    @classmethod
    def open(cls, path: Path, query: Query | None = None) -> Recording:
        """Read a file's format and length.

        Args:
            path: The file.
            query: Deepgram's parameters. If they have `encoding`, the file is raw audio.

        Raises:
            AudioError: It cannot be streamed, or has no audio.
            OSError: It cannot be read.
        """
        raw = Sound.of_query(query or {})
        if not stat.S_ISREG(path.stat().st_mode):
            return cls(path.name, path.name, None, lambda: _piped(_unbuffered(path), raw), raw)
        sound, skip, size = raw, 0, path.stat().st_size
        if sound is None:
            try:
                header = _header_of(path)
                sound = None if header is None else Sound.of_wav(header)
            except AudioError as error:
                return cls.decoded(path, error)
            if sound is None or header is None:
                raise AudioError(_SILENT)
            skip = header.size
            if header.data is not None:
                size = min(size, skip + header.data)
        frames = (size - skip) // sound.frame_size
        if frames <= 0:
            raise AudioError(_SILENT)
        seconds = frames / sound.sample_rate
        layout = {1: "mono", 2: "stereo"}.get(sound.channels, f"{sound.channels} channels")
        described = (
            f"{path.name}, {seconds:.1f} s, {sound.encoding}, {sound.sample_rate / 1_000:g} kHz, "
            f"{layout}"
        )
        return cls(path.name, described, seconds, lambda: _file(path), raw)

    @classmethod
    def decoded(cls, path: Path, reason: AudioError) -> Recording:
        """Return a file as ffmpeg decodes it: a WAV file with samples of 16 bits.

        Args:
            path: The file.
            reason: Why it cannot be streamed as it is.

        Raises:
            AudioError: ffmpeg is not installed.
        """
        _need_ffmpeg(reason)
        described = f"{path.name}, decoded by ffmpeg"
        return cls(path.name, described, None, lambda: _decoded(f"file:{path}"))

    @classmethod
    def standard_input(cls, query: Query | None = None) -> Recording:
        """Return what comes on standard input: as a file, but of unknown length.

        Raises:
            AudioError: The parameters declare a format that cannot be streamed.
        """
        raw = Sound.of_query(query or {})
        name = "standard input"
        return cls(name, name, None, lambda: _piped(standard_input(), raw), raw)

    @classmethod
    def stored(
        cls,
        name: str,
        source: Callable[[], AbstractAsyncContextManager[Read]],
        query: Query | None = None,
    ) -> Recording:
        """Return a file that is not on this machine, and that is read as it is streamed.

        ffmpeg seeks in some containers, so what it decodes is first copied to a temporary file. On
        Linux and macOS the file has no name, so nothing of it outlives a process that is killed.

        Args:
            name: What to call it.
            source: Opens the file.
            query: Deepgram's parameters. If they have `encoding`, the file is raw audio.

        Raises:
            AudioError: The parameters declare a format that cannot be streamed.
        """
        raw = Sound.of_query(query or {})
        return cls(name, name, None, lambda: _stored(name, source, raw), raw)

    async def chunks(self, seconds: float) -> AsyncGenerator[Chunk]:
        """Yield the bytes in chunks of `seconds` of audio.

        Raises:
            AudioError: It cannot be streamed, or has no audio.
            OSError: It cannot be read.
        """
        async with self._source() as read:
            rest, sound, skip, most = b"", self._raw, 0, None
            if sound is None:
                header, rest = await _begin(read)
                sound, skip, most = Sound.of_wav(header), header.size, header.data
            size = max(1, round(seconds * sound.sample_rate)) * sound.frame_size
            taken, ended = 0, False
            while not ended:
                # A pipe gives less at a time than it is asked for.
                while len(rest) < size and not ended:
                    more = await read(size - len(rest))
                    rest, ended = rest + more, not more
                while rest and (ended or len(rest) >= size):
                    data, rest = rest[:size], rest[size:]
                    taken += len(data)
                    audio = max(0, taken - skip)
                    frames = (audio if most is None else min(audio, most)) // sound.frame_size
                    # Neither the header nor bytes after the audio take time.
                    yield Chunk(data, frames / sound.sample_rate)
            if taken <= skip:
                raise AudioError(_SILENT)


def _header_of(path: Path) -> WavHeader | None:
    """Return a file's header; None: the file ends before it does."""
    head = b""
    with path.open("rb") as file:
        while (header := read_wav_header(head)) is None and (more := file.read(_BLOCK)):
            head += more
    return header


async def _begin(read: Read) -> tuple[WavHeader, bytes]:
    """Read a WAV file's header; return also the bytes read so far."""
    head = b""
    while (header := read_wav_header(head)) is None:
        more = await read(_GLANCE)
        if not more:
            raise AudioError(_SILENT)
        head += more
    return header, head


def _need_ffmpeg(reason: AudioError | None = None) -> str:
    """Return where ffmpeg is.

    Raises:
        AudioError: It is not installed.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        raise AudioError(f"{reason or 'this is not a WAV file'}. {_HINT}")
    return found


@asynccontextmanager
async def _file(path: Path) -> AsyncIterator[Read]:
    with path.open("rb") as file:

        async def read(size: int) -> bytes:
            return file.read(size)

        yield read


def _unbuffered(path: Path) -> FileIO:
    return FileIO(path)


@asynccontextmanager
async def _piped(file: FileIO, raw: Sound | None) -> AsyncIterator[Read]:
    """Read a pipe, a device or a redirected file; ffmpeg decodes it if it is no WAV file."""
    async with reading(file) as read:
        if raw is not None:
            yield read
            return
        head = b""
        while len(head) < len(_RIFF) and (more := await read(_GLANCE)):
            head += more
        again = _again(head, read)
        if not head:
            raise AudioError(_SILENT)
        if head.startswith(_RIFF):
            yield again
            return
        async with _decoded("pipe:0", feed=again) as decoded:
            yield decoded


@asynccontextmanager
async def _stored(
    name: str, source: Callable[[], AbstractAsyncContextManager[Read]], raw: Sound | None
) -> AsyncIterator[Read]:
    """Read a file that can be read once, from its beginning; ffmpeg decodes what cannot be sent."""
    async with source() as read:
        if raw is not None:
            yield read
            return
        head, sound = b"", None
        try:
            while (header := read_wav_header(head)) is None and (more := await read(_GLANCE)):
                head += more
            sound = None if header is None else Sound.of_wav(header)
        except AudioError as error:
            _need_ffmpeg(error)
        else:
            if sound is None:
                raise AudioError(_SILENT)
            yield _again(head, read)
            return
        with _temporary() as own:
            own.write(head)
            while more := await read(_BLOCK):
                own.write(more)
            own.flush()
            own.seek(0)
            nameless = _by_number(own)
            if nameless is None:
                # On Windows no other program opens it before.
                own.close()
            path = nameless or own.name
            descriptors = (own.fileno(),) if nameless else ()
            async with _decoded(f"file:{path}", shown=name, descriptors=descriptors) as decoded:
                yield decoded


def _temporary() -> IO[bytes]:
    """Return a file that ends with its process, where another program can open it by its number."""
    if Path("/dev/fd").exists():
        nameless = tempfile.TemporaryFile(prefix=_TEMPORARY)  # noqa: SIM115 - the caller's
        if _by_number(nameless) is not None:
            return nameless
        nameless.close()
    return tempfile.NamedTemporaryFile(prefix=_TEMPORARY, delete_on_close=False)


def _by_number(file: IO[bytes]) -> str | None:
    """Return the path by which another program opens a file without a name; None: it has one."""
    if isinstance(file.name, str):
        return None
    path = f"/dev/fd/{file.fileno()}"
    return path if Path(path).exists() else None


def _again(head: bytes, read: Read) -> Read:
    """Read as `read`, but `head` first."""
    rest = head

    async def from_the_head(size: int) -> bytes:
        nonlocal rest
        if not rest:
            return await read(size)
        data, rest = rest[:size], rest[size:]
        return data

    return from_the_head


@asynccontextmanager
async def _decoded(
    source: str,
    feed: Read | None = None,
    *,
    shown: str | None = None,
    descriptors: Sequence[int] = (),
) -> AsyncIterator[Read]:
    """Have ffmpeg make a WAV file of the first audio in a file, or of what `feed` reads.

    Args:
        source: What ffmpeg opens.
        feed: Reads its standard input.
        shown: What errors call the source; None: as ffmpeg does.
        descriptors: Files of this process that ffmpeg gets, too.
    """
    process = await asyncio.create_subprocess_exec(
        _need_ffmpeg(),
        *("-nostdin", "-v", "error", "-i", source, "-map", "0:a:0"),
        *("-c:a", "pcm_s16le", "-f", "wav", "-"),
        stdin=asyncio.subprocess.DEVNULL if feed is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Windows has none.
        pass_fds=descriptors,
    )
    assert process.stdout is not None  # noqa: S101 - asked for above
    assert process.stderr is not None  # noqa: S101 - likewise
    output = process.stdout
    complaints = asyncio.create_task(process.stderr.read())
    feeding = None if feed is None else asyncio.create_task(_feed(process, feed))

    async def read(size: int) -> bytes:
        data = await output.read(size)
        if not data and await process.wait():
            complaint = (await complaints).decode(errors="replace")
            said = complaint.replace(source, shown or source).strip().splitlines()
            raise AudioError(f"ffmpeg: {said[-1][:_MOST_SAID] if said else 'failed'}")
        return data

    try:
        yield read
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        if feeding is not None:
            feeding.cancel()
        await asyncio.gather(
            process.wait(), complaints, *([feeding] if feeding else []), return_exceptions=True
        )


async def _feed(process: Process, read: Read) -> None:
    assert process.stdin is not None  # noqa: S101 - asked for with `feed`
    # ffmpeg may have read all that it needs, or have failed; `read` above tells which.
    with suppress(BrokenPipeError, ConnectionResetError):
        while data := await read(_BLOCK):
            process.stdin.write(data)
            await process.stdin.drain()
    process.stdin.close()
