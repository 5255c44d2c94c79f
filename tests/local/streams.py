"""Streams whose client says what a list says."""

import asyncio
import json


class Pause(float):
    """Seconds in which the client says nothing."""


class Until:
    """The client says nothing before it has heard enough."""

    def __init__(self, enough):
        self.enough = enough


class Scripted:
    """A stream whose client follows a list, and then stays, or ends its input."""

    def __init__(self, path, said, *, query=None, ends=False):
        self.path = path
        self.query = {key: [value] for key, value in (query or {}).items()}
        self.said, self.ends = said, ends
        self.heard, self.failure, self.gone = [], None, False
        self._news = asyncio.Event()

    async def __aiter__(self):
        for message in self.said:
            if isinstance(message, Pause):
                await asyncio.sleep(message)
            elif isinstance(message, Until):
                while not message.enough(self):
                    self._news.clear()
                    await self._news.wait()
            else:
                yield json.dumps(message) if isinstance(message, dict) else message
        if not self.ends:
            await asyncio.Event().wait()

    async def send(self, message):
        if self.gone:
            raise ConnectionResetError("the client is gone")
        self.heard.append(message if isinstance(message, bytes) else json.loads(message))
        self._news.set()
        await asyncio.sleep(0)

    async def fail(self, code, message):
        self.failure = (code, message)

    @property
    def audio(self):
        return b"".join(message for message in self.heard if isinstance(message, bytes))

    @property
    def told(self):
        return [message for message in self.heard if not isinstance(message, bytes)]

    @property
    def kinds(self):
        """The messages' types in their order, runs of audio as one."""
        kinds = []
        for message in self.heard:
            kind = "audio" if isinstance(message, bytes) else message["type"]
            if kind != "audio" or kinds[-1:] != ["audio"]:
                kinds.append(kind)
        return kinds

    def of(self, kind):
        return [message for message in self.told if message["type"] == kind]


async def serve(model, path, said, **options):
    stream = Scripted(path, said, **options)
    await asyncio.wait_for(model(stream), 60)
    return stream
