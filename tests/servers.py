"""Servers of asyncio's streams that leave nothing when they end."""

import asyncio
import contextlib
import socket


@contextlib.asynccontextmanager
async def serving(handle, *, tls=None, backlog=100, limit=2**16):
    """A server that has `handle` serve each connection; yields the port.

    Connections end with the server, whatever they wait for: a TLS handshake, the client's answer to
    the end of TLS, the handler. asyncio's own server leaves them, and the test in which they are
    found later is another one. A handler need not close its writer, nor mind that its client went.
    """
    loop = asyncio.get_running_loop()
    sockets, transports, tasks = [], [], []

    async def accept():
        while True:
            connection, _ = await loop.sock_accept(listener)
            sockets.append(connection)
            tasks.append(asyncio.create_task(serve(connection)))

    async def serve(connection):
        reader = asyncio.StreamReader(limit=limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        # The client may go away whenever it likes, and the handler may read until then.
        with contextlib.suppress(OSError, EOFError):
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls)
            transports.append(transport)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await handle(reader, writer)
            finally:
                writer.close()

    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        listener.setblocking(False)
        tasks.append(asyncio.create_task(accept()))
        try:
            yield listener.getsockname()[1]
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            for transport in transports:
                transport.abort()
            # An aborted transport closes its socket in the loop's next round.
            await asyncio.sleep(0)
            for connection in sockets:
                connection.close()
    # A handler's own fault is the test's.
    for error in ended:
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error
