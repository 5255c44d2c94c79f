"""Asks the starter to run a command, and ends as the command does: `client.py COMMAND ARGUMENT…`.

It is started without `site`, and imports little, because every command of a page pays for it.
"""

import os
import signal
import socket
import sys
from _json import encode_basestring_ascii as quoted

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(os.environ["PAGES_STARTER"])

    def forward(number, _frame):
        connection.send(bytes([number]))

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) != signal.SIG_IGN:
            signal.signal(each, forward)
    environment = ",".join(f"{quoted(name)}:{quoted(value)}" for name, value in os.environ.items())
    arguments = ",".join(map(quoted, sys.argv[1:]))
    told = (
        f'{{"arguments":[{arguments}],"environment":{{{environment}}},'
        f'"directory":{quoted(os.getcwd())}}}'  # noqa: PTH109 - quicker to import
    )
    socket.send_fds(connection, [told.encode()], [0, 1, 2])
    status = connection.recv(1)
sys.exit(status[0] if status else 1)
