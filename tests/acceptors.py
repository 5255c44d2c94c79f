"""A server of blocking sockets in a thread, which ends on every system."""

import contextlib
import socket
import threading


@contextlib.contextmanager
def accepting(serve):
    """Have a thread give each connection to `serve`, one after the other; yields the port.

    Only on Linux does shutting a listener down wake who accepts. A last connection does everywhere.
    """
    closing = threading.Event()

    def accept():
        while True:
            connection, _ = listener.accept()
            with connection:
                if closing.is_set():
                    return
                with contextlib.suppress(OSError):
                    serve(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            closing.set()
            socket.create_connection(listener.getsockname(), 20).close()
            thread.join()
