"""Event loops that differ from the default one in what they can do, and what wakes them."""

import asyncio
import os
import socket
import sys

from deepgram_sagemaker import SageMakerConfig, wakeups
from deepgram_sagemaker._native import Pool, Waker
from deepgram_sagemaker.aws.route import Route


class ProactorLike(asyncio.SelectorEventLoop):
    """A loop that lacks what Windows' Proactor loop lacks, on any system.

    What asyncio itself needs of a selector still works, by the private names.
    """

    def _lacks(self, *arguments):
        raise NotImplementedError

    add_reader = remove_reader = add_writer = remove_writer = _lacks
    add_signal_handler = remove_signal_handler = _lacks

    def _sock_read_done(self, fd, fut, handle=None):
        if handle is None or not handle.cancelled():
            self._remove_reader(fd)

    def _sock_write_done(self, fd, fut, handle=None):
        if handle is None or not handle.cancelled():
            self._remove_writer(fd)

    def close(self):
        """Close it, and cancel what is pending, as the Proactor loop does."""
        if not self.is_closed():
            for key in list(self._selector.get_map().values()):
                for handle in key.data:
                    for each in (handle and handle._args) or ():
                        if isinstance(each, asyncio.Future):
                            each.cancel()
        super().close()


class Sockets(asyncio.SelectorEventLoop):
    """The default loop, on a system without eventfds."""

    def __init__(self, selector=None):
        super().__init__(selector)
        hub = wakeups._hubs[self] = wakeups.Hub(self)
        hub.waker = hub._bell.waker = Waker("pair")


def _uvloop():
    import uvloop

    return uvloop.new_event_loop()


LOOPS = {
    "default": asyncio.new_event_loop,
    "proactor-like": ProactorLike,
    "no-eventfd": Sockets,
    "uvloop": _uvloop,
}
"""What makes each loop, by the name that `--loop` takes."""


def receives(name):
    """Return whether this loop cannot watch descriptors, so that it receives from a socket."""
    return name == "proactor-like" or (name == "default" and sys.platform == "win32")


def is_open(descriptor):
    """Return whether a descriptor of a waker is open."""
    try:
        if sys.platform == "win32":
            # All are sockets, which are no descriptors for `os`.
            socket.socket(fileno=descriptor).detach()
        else:
            os.fstat(descriptor)
    except OSError:
        return False
    return True


class Poster:
    """Posts a token from the engine's side: a pool that admits every opening.

    Args:
        hub: A hub, or whatever has a `waker`.
    """

    def __init__(self, hub):
        self.hub = hub
        config = SageMakerConfig(
            "ep",
            connection_timeout=5.0,
            connection_acquire_timeout=5.0,
            subscription_timeout=5.0,
            max_concurrency=1000,
            max_streams_per_connection=1,
        )
        self.pool = Pool(config, Route(host="127.0.0.1", port=1, max_handshakes=1000))
        self.kept = []

    def post(self, token):
        acquiring = self.pool.acquire(with_permit=True, waker=self.hub.waker, token=token)
        self.kept.append(acquiring)
        return acquiring
