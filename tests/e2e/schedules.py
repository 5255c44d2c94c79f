"""Schedules of faults drawn from a seed, for every product, and the required outcome of each.

Either everything comes once and in order, or the application is told of an error, and then what
came before it was once and in order, too. Nothing ends in order with something missing, and
nothing hangs.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from deepgram.listen.v2.types import ListenV2Configure
from deepgram_sagemaker.errors import SageMakerError
from deepgram_sagemaker.local import LocalEndpoint, Watermark
from deepgram_sagemaker.local.faults import (
    AfterAudio,
    AfterBytes,
    AfterChunks,
    AfterMessages,
    AfterNewChunks,
    AfterReplies,
    AfterTime,
    Answer,
    DelayAnswer,
    Drop,
    EndEarly,
    Fault,
    GoAway,
    GoSilent,
    InternalStreamFailure,
    Late,
    Malformed,
    ModelStreamError,
    NeverAnswer,
    NeverTls,
    OnMessage,
    OnNextOpen,
    Outage,
    Reset,
    ResetTcp,
    SlowTls,
    Split,
)
from deepgram_sagemaker.local.watermark_agent import WatermarkAgent
from deepgram_sagemaker.local.watermark_aura import WatermarkAura
from deepgram_sagemaker.local.watermark_flux import WatermarkFlux
from e2e import agents, flux, survival, voices
from e2e.survival import AUDIO, MICROSECOND, STEREO

LIMIT = 150.0
"""Seconds after which a session counts as hanging."""
BUDGET = 90.0
"""Seconds of failures in a row: not what ends a session here, unless retries have no end."""

REPEATED = 8
"""How often one fault strikes at most."""

# Refused openings: throttling under every name, and transient failures.
REFUSALS = (
    Answer(429, "ThrottlingException"),
    Answer(400, "ThrottlingException"),
    Answer(503, "ServiceUnavailableException"),
    Answer(500, "InternalFailure"),
    Answer(424, "ModelError"),
    DelayAnswer(0.05),
    NeverAnswer(),
)
CONNECTIONS = (ResetTcp(), SlowTls(0.05), NeverTls())
# Failures that a retry would repeat.
TERMINAL = (
    Answer(403, "AccessDeniedException"),
    Answer(404, "ResourceNotFound"),
    ModelStreamError("1008", "DATA-0000"),
)
ACTIONS = (
    Reset(),
    Reset(code=7),
    Reset(code=8),
    Drop(),
    Drop(rst=False),
    GoAway(covers=True),
    GoAway(covers=False),
    EndEarly(),
    EndEarly(),
    ModelStreamError(),
    ModelStreamError("1000", "bye"),
    InternalStreamFailure(),
    GoSilent(),
    Malformed("truncated"),
    Malformed("unknown_event"),
    Malformed("wrong_crc"),
    Split(7),
    Late(0.03),
    Outage(0.05),
)
# Without progress a container's own errors, and bytes that make no sense, are borne three times,
# whatever `max_retries` says.
BORNE = 3
RETRIES = (0, 2, 5, 20, 100, 100, 100)
"""The last one is more than the faults of any schedule."""


class Product(ABC):
    """One conversation over one product, with a model that counts it."""

    model: object
    closing: str
    controls: tuple[str, ...] = ()
    notices_silence = True

    def __init__(self, draw: random.Random):
        self.draw = draw

    def triggers(self):
        """The triggers of a stream's faults."""
        return [
            AfterMessages(1 + self.draw.randrange(self.messages)),
            AfterBytes(1 + self.draw.randrange(self.messages * 160)),
            AfterReplies(1 + self.draw.randrange(self.replies)),
            AfterTime(self.draw.random() * 0.3),
            # An end in order would hide missing audio here.
            *[OnMessage(self.closing)] * 3,
            OnNextOpen(),
            *map(OnMessage, self.controls),
        ]

    @property
    @abstractmethod
    def messages(self) -> int:
        """Roughly the number of items sent."""

    @property
    @abstractmethod
    def replies(self) -> int:
        """The least number of items that come back."""

    @abstractmethod
    async def converse(self, config) -> None:
        """Holds the conversation to its end, or until `send` raises."""

    @property
    @abstractmethod
    def errors(self) -> Sequence[Exception]:
        """The messages that the application's handler got."""

    @property
    @abstractmethod
    def stats(self):
        """The session's, where it came to its end."""

    @abstractmethod
    def assert_whole(self, faults) -> None:
        """Checks that everything came once and in order."""

    @abstractmethod
    def assert_once_and_in_order(self) -> None:
        """Checks what came before an error."""


class Nova(Product):
    closing = "CloseStream"

    def __init__(self, draw):
        super().__init__(draw)
        self.audio, self.chunks = draw.choice(AUDIO), draw.randint(30, 200)
        self.model = Watermark(
            window=draw.choice([1, 3, 10, 25]),
            late_chunks=draw.choice([0, 1, 3, 30]),
            channel_skew=draw.choice([0, 1]) if self.audio is STEREO else 0,
            closing_time=draw.choice([0.0, 0.02]),
        )
        self.interim = draw.random() < 0.5
        self.pace = draw.choice([None, None, 0.001, 0.003])
        self.finalizes = draw.random() < 0.3
        self.controls = ("Finalize",) if self.finalizes else ()
        self.heard = survival.Heard()

    def __repr__(self):
        return f"v1/listen, {self.audio.name}, {self.chunks} chunks, {self.model}, {self.pace=}"

    messages = property(lambda self: self.chunks)
    replies = property(lambda self: self.chunks // 5)
    errors = property(lambda self: self.heard.errors)
    stats = property(lambda self: self.heard.stats)

    def triggers(self):
        place = self.draw.randrange(self.chunks)
        audio = [AfterChunks(1 + place), AfterNewChunks(1 + place), AfterAudio(place * 0.02)]
        return [*super().triggers(), *audio]

    async def converse(self, config):
        await survival.converse(
            config,
            self.audio,
            self.chunks,
            interim=self.interim,
            pace=self.pace,
            middle=(lambda connection: connection.send_finalize()) if self.finalizes else None,
            heard=self.heard,
        )

    def assert_whole(self, faults):
        reached = survival.assert_complete(self.heard, self.audio, self.chunks)
        # When the last leg breaks after the last final there is nothing left to resume for.
        assert len(self.heard.metadata) <= 1
        for metadata in self.heard.metadata:
            assert abs(metadata.duration - reached) <= MICROSECOND

    def assert_once_and_in_order(self):
        for words in self.heard.words.values():
            assert words == list(range(len(words)))
        for finals in self.heard.finals.values():
            reached = 0.0
            for start, duration in finals:
                assert abs(start - reached) <= MICROSECOND, (start, reached)
                reached = start + duration


class Flux(Product):
    closing = "CloseStream"
    controls = ("Configure",)

    def __init__(self, draw):
        super().__init__(draw)
        self.audio = draw.choice(AUDIO)
        # Enough audio after the last turn for a late end: after CloseStream it is not reported.
        self.chunks = flux.TURN * draw.randint(1, 4) + draw.randint(15, flux.TURN - 1)
        self.model = WatermarkFlux(
            turn=flux.TURN,
            late_chunks=draw.choice([0, 1, 10]),
            eager_at=draw.choice([0, 20]),
            word_times=draw.random() < 0.7,
        )
        self.told = flux.Told()

    def __repr__(self):
        return f"v2/listen, {self.audio.name}, {self.chunks} chunks, {self.model}"

    messages = property(lambda self: self.chunks)
    replies = property(lambda self: self.chunks // 13)
    errors = property(lambda self: self.told.errors)
    stats = property(lambda self: self.told.stats)

    def triggers(self):
        place = self.draw.randrange(self.chunks)
        audio = [AfterChunks(1 + place), AfterNewChunks(1 + place), AfterAudio(place * 0.02)]
        return [*super().triggers(), *audio]

    async def converse(self, config):
        query = {"eager_eot_threshold": "0.5"} if self.model.eager_at else {}
        message = ListenV2Configure(thresholds={"eot_threshold": 0.8})
        at = {self.chunks // 3: lambda connection: connection.send_configure(message)}
        await flux.converse(config, self.audio, self.chunks, at=at, told=self.told, **query)

    def assert_whole(self, faults):
        # Audio that is too short for a window need not be reported.
        cut_off = flux.WINDOW if faults else 0
        silent = any(isinstance(fault.action, GoSilent) for fault in faults)
        if self.audio is survival.OGG and silent:
            # The length of a container is not known: a leg that falls silent with all of it sent
            # and then ends in order looks like one that has reported everything.
            cut_off += flux.AHEAD
        flux.assert_whole(
            self.told,
            self.audio,
            self.chunks,
            word_times=self.model.word_times,
            cut_off=cut_off,
        )

    def assert_once_and_in_order(self):
        numbers = [message.sequence_id for message in self.told.messages]
        assert numbers == list(range(len(numbers)))
        counted = [int(word.word) for end in self.told.ends for word in end.words]
        assert counted == list(range(len(counted)))


class Speech(Product):
    """`v1/speak` and `v2/speak`."""

    closing = "Close"
    controls = ("Speak", "Flush")
    words = 4

    def __init__(self, draw, version):
        super().__init__(draw)
        self.version = version
        outputs = [voices.LINEAR16, voices.NARROW, voices.MULAW, voices.WAV][: 5 - version]
        self.output = draw.choice(outputs)
        self.turns = voices.script(draw.randint(1, 4), self.words)
        self.in_turn = draw.random() < 0.5
        self.flushed = draw.choice(["early", "late", "never"]) if version == 2 else "early"
        self.model = WatermarkAura(
            block=voices.BLOCK, flushes=1000, pace=draw.choice([15.0, 40.0]), flushed=self.flushed
        )
        self.said = voices.Said()

    def __repr__(self):
        turns, way = len(self.turns), "in turn" if self.in_turn else "at once"
        return f"v{self.version}/speak, {self.output.name}, {turns} turns {way}, {self.model}"

    messages = property(lambda self: 3 * len(self.turns) + 1)
    replies = property(lambda self: 3 * self.words * len(self.turns))
    errors = property(lambda self: self.said.errors)
    stats = property(lambda self: self.said.stats)

    async def converse(self, config):
        await voices.speak(
            config,
            self.version,
            self.turns,
            output=self.output,
            in_turn=self.in_turn,
            said=self.said,
        )

    def assert_whole(self, faults):
        if self.version == 1:
            voices.assert_aura(self.said, self.turns, self.output)
        else:
            # When the last leg breaks after the last turn there is nothing left to resume for.
            voices.assert_flux(
                self.said, self.turns, self.output, flushed=self.flushed, may_break=bool(faults)
            )

    def assert_once_and_in_order(self):
        wanted = b"".join(self.output.said(words) for words in self.turns)
        assert wanted.startswith(self.said.audio[self.output.header :])
        flushed = [getattr(message, "sequence_id", None) for message in self.said.of("Flushed")]
        assert self.version == 2 or flushed == list(range(len(flushed)))


class Agent(Product):
    # An agent's conversation has no closing message.
    closing = "UpdatePrompt"
    controls = ("Settings",)
    # An agent is silent while the user does not speak, so silence is not a fault.
    notices_silence = False

    def __init__(self, draw):
        super().__init__(draw)
        self.turns = draw.randint(1, 3)
        self.written = {turn for turn in range(self.turns) if draw.random() < 0.3}
        self.model = WatermarkAgent(turn=agents.TURN, block=agents.WORD, reply=agents.count)
        self.talked = agents.Talked()

    def __repr__(self):
        return f"v1/agent/converse, {self.turns} turns, {self.written} written"

    messages = property(lambda self: self.turns * 2 * agents.TURN)
    replies = property(lambda self: 10 * (1 + self.turns))
    errors = property(lambda self: self.talked.errors)
    stats = property(lambda self: self.talked.stats)

    def triggers(self):
        place = self.draw.randrange(self.turns * agents.TURN)
        return [*super().triggers(), AfterChunks(1 + place), AfterNewChunks(1 + place)]

    async def converse(self, config):
        await agents.converse(
            config, self.turns, written=self.written, prompted={0}, talked=self.talked
        )

    def assert_whole(self, faults):
        agents.assert_one_conversation(self.talked, self.turns, self.written)

    def assert_once_and_in_order(self):
        wanted = agents.user_texts(self.turns, self.written)
        said = self.talked.said_by("user")
        assert said == wanted[: len(said)]
        answers = [agents.GREETING, *(str(8001 + turn) for turn in range(self.turns))]
        said = self.talked.said_by("assistant")
        assert said == answers[: len(said)]


PRODUCTS = {
    "v1/listen": Nova,
    "v2/listen": Flux,
    "v1/speak": lambda draw: Speech(draw, 1),
    "v2/speak": lambda draw: Speech(draw, 2),
    "v1/agent/converse": Agent,
}
WEIGHTS = (10, 4, 2, 2, 2)


@dataclass
class Outcome:
    """The outcome of a schedule."""

    product: str
    error: str | None
    """The class of the application's error and that of its cause; None: no error."""
    struck: int
    resets: int = 0
    rollovers: int = 0


@dataclass
class Schedule:
    """The faults of one session."""

    told_by: ClassVar = (SageMakerError,)
    """The errors by which an application is told."""

    seed: int
    name: str = field(init=False)
    product: Product = field(init=False)
    faults: list[Fault] = field(init=False)
    settings: dict = field(init=False)

    def __post_init__(self):
        draw = random.Random(self.seed)
        (self.name,) = draw.choices([*PRODUCTS], WEIGHTS)
        self.product = PRODUCTS[self.name](draw)
        self.faults = [self._fault(draw) for _ in range(draw.randint(1, 5))]
        self.settings = {
            "max_retries": draw.choice(RETRIES),
            "replay_speed": draw.choice([None, 100.0]),
            "max_leg_age": draw.choice([None, 0.1, 0.4]),
            "keepalive_interval": draw.choice([None, None, 0.05]),
        }

    def _fault(self, draw):
        kind = draw.random()
        if kind < 0.2:
            first = draw.randint(1, 4)
            legs = (first, first + draw.randrange(REPEATED))
            return Fault(draw.choice(REFUSALS + CONNECTIONS), legs=legs)
        if kind < 0.23:
            return Fault(draw.choice(TERMINAL), legs=draw.randint(1, 4))
        action = draw.choice(ACTIONS)
        while isinstance(action, GoSilent) and not self.product.notices_silence:
            action = draw.choice(ACTIONS)
        when = draw.choice(self.product.triggers())
        return Fault(action, when=when, times=draw.randint(1, REPEATED))

    @property
    def is_borne(self):
        """Whether it must end without an error: the faults are fewer than the retries."""
        if self.settings["max_retries"] < RETRIES[-1]:
            return False
        limited = 0
        for fault in self.faults:
            match fault.action:
                case action if action in TERMINAL:
                    return False
                case Answer(status=424):
                    first, last = fault.legs
                    limited += last - first + 1
                case ModelStreamError() | Malformed(how="truncated" | "wrong_crc"):
                    limited += fault.times
        return limited <= BORNE

    def __str__(self):
        return f"seed {self.seed}: {self.product!r}, {self.settings}, {self.faults}"

    async def run(self) -> Outcome:
        """Runs the session and checks its outcome.

        Raises:
            AssertionError: it did not; a note has the schedule.
        """
        try:
            async with asyncio.timeout(LIMIT):
                return await self._run()
        except Exception as error:
            error.add_note(str(self))
            raise

    @asynccontextmanager
    async def _reached(self, config):
        """What the conversation is held with."""
        yield config

    async def _run(self):
        product = self.product
        async with LocalEndpoint(model=product.model, faults=self.faults) as endpoint:
            config = endpoint.config(
                connection_timeout=1.0,
                subscription_timeout=1.0,
                retry_budget=BUDGET,
                initial_backoff=0.005,
                max_backoff=0.02,
                # All of them share one event loop with their models.
                stall_timeout=1.0 if product.notices_silence else None,
                close_timeout=30.0,
                **self.settings,
            )
            raised = None
            try:
                async with self._reached(config) as reached:
                    await product.converse(reached)
            except self.told_by as error:
                raised = error
            told = [*product.errors, *([raised] if raised else [])]
            if not told:
                product.assert_whole(self.faults)
                assert product.stats.bytes_lost == 0
            else:
                assert all(isinstance(error, self.told_by) for error in told), told
                product.assert_once_and_in_order()
                assert not self.is_borne, told
            assert endpoint.stats.signature_failures == 0
            outcome = Outcome(self.name, _class(told[0]) if told else None, endpoint.stats.faults)
            if not told:
                outcome.resets = sum(product.stats.resets.values())
                outcome.rollovers = product.stats.rollovers
            return outcome


def _class(error):
    cause = error.__cause__
    return type(error).__name__ + (f" ({type(cause).__name__})" if cause is not None else "")


async def run_all(seeds, at_once, kind=Schedule):
    """Runs the schedules of these seeds; returns outcomes and failures, each by its seed."""
    outcomes, failures = {}, {}
    turns = asyncio.Semaphore(at_once)

    async def in_turn(seed):
        async with turns:
            try:
                outcomes[seed] = await kind(seed).run()
            except Exception as error:  # noqa: BLE001 - one that failed is one of many
                failures[seed] = error

    await asyncio.gather(*map(in_turn, seeds))
    return outcomes, failures


def tally(outcomes, failures):
    """The outcomes of schedules, as plain data."""
    whole = [outcome for outcome in outcomes.values() if outcome.error is None]
    return {
        "whole": dict(Counter(outcome.product for outcome in whole)),
        "resets": sum(outcome.resets for outcome in whole),
        "rollovers": sum(outcome.rollovers for outcome in whole),
        "errors": dict(Counter(outcome.error for outcome in outcomes.values() if outcome.error)),
        "wrong": {
            str(seed): f"{type(error).__name__} {error}".partition("\n")[0][:100]
            for seed, error in sorted(failures.items())
        },
    }


def summary(tallies):
    """Several tallies together, in lines."""
    whole, errors, wrong = Counter(), Counter(), {}
    for each in tallies:
        whole.update(each["whole"])
        errors.update(each["errors"])
        wrong |= each["wrong"]
    resets, rollovers = (sum(each[name] for each in tallies) for name in ("resets", "rollovers"))
    yield f"{whole.total()} whole, with {resets} resets and {rollovers} rollovers"
    yield from (f"  {count} {name}" for name, count in sorted(whole.items()))
    yield f"{errors.total()} with an error"
    yield from (f"  {count} {name}" for name, count in errors.most_common())
    yield f"{len(wrong)} wrong"
    yield from (f"  --schedules 1 --first {seed}: {why}" for seed, why in wrong.items())
