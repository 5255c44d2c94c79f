"""A gateway as a process of its own: says where it listens, and ends with its input."""

import asyncio
import json
import sys

import boto3
from deepgram_sagemaker import SageMakerConfig
from deepgram_sagemaker.gateway import Gateway


async def main(where):
    keys = {name: where.pop(name) for name in ("aws_access_key_id", "aws_secret_access_key")}
    session = boto3.Session(region_name=where["region"], **keys)
    async with Gateway(config=SageMakerConfig(**where, boto3_session=session), port=0) as gateway:
        sys.stdout.write(json.dumps(gateway.address) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
