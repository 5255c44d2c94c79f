"""Conversations in counted turns through the real SDK, and the checks of them."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from deepgram.core.events import EventType
from e2e.survival import MICROSECOND, OGG, client_of

TURN = 50
"""Chunks a turn."""


@dataclass
class Told:
    """The messages that an application got."""

    messages: list = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    stats: object = None

    @property
    def turns(self):
        """All `TurnInfo`."""
        return self.of("TurnInfo")

    @property
    def ends(self):
        """The ends of turns."""
        return [info for info in self.turns if info.event == "EndOfTurn"]

    @property
    def events(self):
        return [info.event for info in self.turns]

    async def reaches(self, chunks, audio):
        """Waits a moment for windows up to there, and for one iteration of the loop in any case."""
        await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOMENT):
                while self._reached < chunks * audio.seconds_a_chunk:  # noqa: ASYNC110 - counted
                    await asyncio.sleep(0.002)

    @property
    def _reached(self):
        last = self.messages[-1] if self.messages else None
        return getattr(last, "audio_window_end", 0.0)

    def of(self, kind):
        return [message for message in self.messages if message.type == kind]


AHEAD, MOMENT = 40, 0.02
"""If the results are AHEAD chunks behind, the application waits MOMENT seconds."""


async def converse(config, audio, chunks, *, pace=None, wait=None, at=None, told=None, **query):
    """Streams a conversation to its end.

    Args:
        config: where.
        audio: what kind of audio.
        chunks: how many.
        pace: seconds between chunks; None: hardly faster than the answers come. A reset throws
            away those on their way, so that resets faster than answers are no progress at all.
        wait: awaited instead, after each chunk, with the chunks sent so far and the messages.
        at: by a chunk's number, what is awaited with the connection before it is sent.
        told: collects the messages, for a caller that reads them even if `send` raises; None: a
            new `Told`.
        query: further parameters.
    """
    told = Told() if told is None else told
    client, factory = client_of(config)
    # The SDK has no parameter for the number of channels.
    further = {"additional_query_parameters": audio.query | query}
    async with client.listen.v2.connect(
        model="flux-general-en", request_options=further
    ) as connection:
        connection.on(EventType.MESSAGE, told.messages.append)
        connection.on(EventType.ERROR, told.errors.append)
        listening = asyncio.create_task(connection.start_listening())
        for number in range(chunks):
            if at is not None and number in at:
                await at[number](connection)
            await connection.send_media(audio.chunk(number))
            if wait is not None:
                await wait(number + 1, told)
            elif pace is not None:
                await asyncio.sleep(pace)
            else:
                await told.reaches(number + 1 - AHEAD, audio)
        await connection.send_close_stream()
        await listening
    told.stats = factory.stats
    return told


# What may follow what in a turn, and what ends it.
FOLLOWING = {
    None: {"Update", "StartOfTurn"},
    "StartOfTurn": {"Update", "EagerEndOfTurn", "EndOfTurn"},
    "EagerEndOfTurn": {"Update", "TurnResumed", "EndOfTurn"},
}


def follows(state, event):
    """Returns whether an event may come in a turn, and the turn's state after it."""
    allowed = event in FOLLOWING[state]
    if event == "EndOfTurn":
        return allowed, None
    if event == "TurnResumed":
        return allowed, "StartOfTurn"
    return allowed, state if event == "Update" else event


def seconds(audio, chunks):
    """The time on the audio's clock at which this number of chunks ends."""
    # Where the clock is the container's own, its header is bytes like any other.
    header = len(audio.header) / 32000 if audio is OGG else 0.0
    return chunks * audio.seconds_a_chunk + header


WINDOW = 13
"""Chunks of a window, at most: it lasts 240 ms, and ends with a chunk."""


def assert_whole(told, audio, chunks, *, turn=TURN, word_times=True, cut_off=0):
    """Checks that every chunk is in one turn, turns tile the audio, and numbers have no gap.

    Args:
        told: what the application was told.
        audio: what kind of audio.
        chunks: how many.
        turn: chunks a turn; None where turns do not end with a certain chunk.
        word_times: whether words say when they were spoken.
        cut_off: how many chunks may be missing at the end, where the service ended in order.
    """
    assert told.errors == []
    assert [message.sequence_id for message in told.messages] == list(range(len(told.messages)))
    kinds = [message.type for message in told.messages]
    assert kinds[0] == "Connected"
    assert kinds.count("Connected") == 1
    state, index, start, reached = None, 0, 0.0, 0.0
    counted, open_words = [], []
    for info in told.turns:
        allowed, state = follows(state, info.event)
        assert allowed, (info, told.events)
        assert info.turn_index == index
        assert abs(info.audio_window_start - start) <= MICROSECOND, info
        assert info.audio_window_end >= reached - MICROSECOND, (info, reached)
        open_words = [int(word.word) for word in info.words]
        assert info.transcript == " ".join(map(str, open_words))
        assert_words(info, audio, word_times)
        reached = info.audio_window_end
        if info.event == "EndOfTurn":
            counted.append(open_words)
            index, start, open_words = index + 1, reached, []
    told_of = [number for words in [*counted, open_words] for number in words]
    if cut_off:
        assert len(told_of) > chunks - cut_off
        chunks = len(told_of)
    assert told_of == list(range(chunks))
    assert abs(reached - seconds(audio, chunks)) <= MICROSECOND
    if turn is not None:
        assert [words[-1] + 1 for words in counted] == list(range(turn, chunks + 1, turn))
        ends = [info.audio_window_end for info in told.ends]
        for number, end in enumerate(ends, 1):
            assert abs(end - seconds(audio, number * turn)) <= MICROSECOND


def assert_words(info, audio, word_times):
    """Checks that words are at the times of their chunks."""
    for word in info.words:
        # The SDK's model of a word has no times; what the service sends beyond is kept.
        times = [getattr(word, name, None) for name in ("start", "end")]
        if not word_times:
            assert times == [None, None]
            continue
        number = int(word.word)
        expected = [seconds(audio, number), seconds(audio, number + 1)]
        for got, right in zip(times, expected, strict=True):
            assert abs(got - right) <= MICROSECOND, (word, expected)
