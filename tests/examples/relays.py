"""The caption relay as a server of this process, or of its own."""

import asyncio
import importlib.util
import re
import sys
from contextlib import asynccontextmanager

from examples.programs import EXAMPLES, started

SERVER = "captions_relay/server.py"


def relay_module():
    """The example, imported."""
    spec = importlib.util.spec_from_file_location("captions_relay_server", EXAMPLES / SERVER)
    module = importlib.util.module_from_spec(spec)
    # FastAPI looks annotations up in the module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def relay(config, **settings):
    """Runs the relay in this process; yields its address.

    Args:
        config: The endpoint.
        settings: Constants of the example that are other ones here.
    """
    import uvicorn

    module = relay_module()
    for name, value in settings.items():
        assert hasattr(module, name)
        setattr(module, name, value)
    server = uvicorn.Server(
        uvicorn.Config(
            *(module.create_app(config),),
            **module.SERVER | {"port": 0, "log_config": None},
        )
    )
    serving = asyncio.create_task(server.serve())
    try:
        while not server.started:
            assert not serving.done()
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def relay_process(environment):
    """Runs the relay as a reader does; yields its process and its address."""
    arguments = (SERVER, "-e", "local", "--port", "0")
    async with started(*arguments, environment=environment) as process:
        said = ""
        while not (found := re.search(r"running on http://(\S+)", said)):
            line = await process.stderr.readline()
            assert line, said
            said += line.decode()
        yield process, found[1]
