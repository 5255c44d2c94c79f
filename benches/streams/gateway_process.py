"""A gateway as a process of its own, which ends with its input. Says where it listens."""

import asyncio
import json
import os
import sys

from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.gateway import Gateway


async def main() -> None:
    where = json.loads(sys.argv[1])
    os.environ["AWS_ACCESS_KEY_ID"] = where["access_key_id"]
    os.environ["AWS_SECRET_ACCESS_KEY"] = where["secret_access_key"]
    config = SageMakerConfig(
        where["endpoint_name"],
        where["region"],
        endpoint_uri=where["uri"],
        ca_bundle=where["ca_bundle"],
    )
    async with Gateway(config=config, port=0) as gateway:
        print(gateway.url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
