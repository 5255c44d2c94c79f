"""The blocks' runner itself: it finds what is wrong with a page."""

import asyncio
import os

import pytest

from .blocks import WrongBlockError, blocks_of, endpoints_of, profiles_of
from .pages import UNREADABLE, commands, commands_of, matches, read

GOOD = {
    "python": "```python\nimport asyncio\nx = await asyncio.sleep(0, 7)\n```\n"
    "```python\nassert x == 7\n```\n",
    "an own loop": "```python\nimport asyncio\nasyncio.run(asyncio.sleep(0))\n```\n",
    "file": '```python title="a.py"\nimport sys\nassert sys.argv == ["a.py", "b"]\n```\n'
    "```sh\npython a.py b\n```\n",
    "standard streams and a status": '```python title="a.py"\nimport sys\n'
    "print(sys.stdin.read().upper())\nsys.exit(7)\n```\n"
    "```console\n$ echo one | python a.py; echo $?\nONE\n\n7\n```\n",
    "Ctrl-C": '```python title="a.py"\nimport time\nprint("begun", flush=True)\n'
    'try:\n    time.sleep(30)\nexcept KeyboardInterrupt:\n    print("over")\n```\n'
    "```console\n$ timeout -s INT 0.7 python a.py\nbegun\nover\n```\n",
    "test": '```python title="test_a.py"\ndef test_a(): pass\n```\n',
    "sh": "```sh\nX=1\ncd /\n```\n```sh\ntest $X$PWD = 1/\n```\n",
    "console": "```console\n$ echo one \\\n>   two\none two\n$ false; seq 9\n1\n...\n9\n```\n",
    "indented": "- a list\n\n    ```sh\n    true\n    ```\n",
    "pip": "```sh\npip install 'deepgram-sagemaker[cli]' pytest\nuv add deepgram-sagemaker\n```\n",
    "aws": "```sh\nSTATUS=$(aws sagemaker describe-endpoint --endpoint-name my-endpoint \\\n"
    "  --query EndpointStatus --output text)\ntest $STATUS = InService\n"
    "aws sagemaker wait endpoint-in-service --endpoint-name my-endpoint --region us-east-1\n"
    "aws sagemaker create-endpoint-config --endpoint-config-name a --production-variants \\\n"
    "  VariantName=AllTraffic,ModelName=m,InstanceType=ml.g6.2xlarge,InitialInstanceCount=1\n```\n",
    "policy": '```json\n{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": '
    '["sagemaker:InvokeEndpointWithBidirectionalStream", "sagemaker:Describe*"], '
    '"Resource": "*"}]}\n```\n',
    "left out": "<!-- not run: it needs a rocket -->\n```sh\nfalse\n```\n",
    "program missing": "<!-- needs: no-such-program -->\n```sh\nfalse\n```\n",
    "module missing": "<!-- needs: no.such.module -->\n```sh\nfalse\n```\n",
}

BAD = {
    "python": ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
    "python session ends": ("```python\nimport os\nos._exit(0)\n```\n", "session has ended"),
    "a name of another page": ("```python\nassert x == 7\n```\n", "NameError"),
    "file": ('```python title="a.py"\nraise SystemExit(3)\n```\n', "python a.py"),
    "test": ('```python title="test_a.py"\ndef test_a(): assert 0\n```\n', "1 failed"),
    "sh": ("```sh\nfalse\ntrue\n```\n", "false"),
    "a pipe": ("```sh\nfalse | true\n```\n", "false"),
    "traceback": ("```sh\npython -c 1/0 || true\n```\n", "ZeroDivisionError"),
    "console": ("```console\n$ echo one two\none three\n```\n", "one two"),
    "console that fails": ("```console\n$ false\n```\n", "false"),
    "extra": ("```sh\npip install 'deepgram-sagemaker[spech]'\n```\n", "no extra spech"),
    "package": ("```sh\npip install no-such-thing\n```\n", "PackageNotFoundError"),
    "operation": ("```sh\naws sagemaker describe-endpiont\n```\n", "no operation"),
    "waiter": ("```sh\naws sagemaker wait endpoint-ready\n```\n", "endpoint-in-service"),
    "parameter": (
        "```sh\naws sagemaker describe-endpoint --endpoint my-endpoint\n```\n",
        "--endpoint my-endpoint is wrong",
    ),
    "parameter missing": ("```sh\naws sagemaker describe-endpoint\n```\n", "EndpointName"),
    "member": (
        "```sh\naws sagemaker create-endpoint-config --production-variants Name=b\n```\n",
        "has no Name",
    ),
    "enumeration": (
        "```sh\naws ec2 create-vpc-endpoint --vpc-id vpc-1 --vpc-endpoint-type Interfac\n```\n",
        "there are Interface",
    ),
    "query": (
        "```sh\naws sts get-caller-identity --query Acount\n```\n",
        "has nothing there",
    ),
    "json": ('```json\n{"a": …}\n```\n', "Expecting value"),
    "toml": ("```toml\na = \n```\n", "Invalid value"),
    "policy": (
        '```json\n{"Statement": {"Action": "sagemaker:InvokeBidirectional"}}\n```\n',
        "no such actions",
    ),
}


def reader(tmp_path, text, paths):
    page = tmp_path / "page.md"
    page.parent.mkdir()
    page.write_text(text)
    here = tmp_path / "run" / "here"
    here.mkdir(parents=True)
    return read(page, here, os.environ | paths)


async def outcomes(tmp_path, pages):
    """What fails on each page, all of them at the same time."""
    async with commands(tmp_path / "bin") as paths:
        runs = (
            reader(tmp_path / str(number), text, paths).run() for number, text in enumerate(pages)
        )
        return await asyncio.gather(*runs)


@pytest.mark.skipif(UNREADABLE, reason="there is no bash, or no fork")
@pytest.mark.patience(180)
async def test_what_is_right_passes(tmp_path):
    failures = await outcomes(tmp_path, GOOD.values())
    assert dict(zip(GOOD, failures, strict=True)) == {name: [] for name in GOOD}


@pytest.mark.skipif(UNREADABLE, reason="there is no bash, or no fork")
@pytest.mark.patience(180)
async def test_what_is_wrong_fails_and_says_where(tmp_path):
    failures = await outcomes(tmp_path, (text for text, _ in BAD.values()))
    for (name, (_, said)), found in zip(BAD.items(), failures, strict=True):
        assert len(found) == 1, name
        assert "page.md:2\n" in found[0], name
        assert said in found[0], (name, found[0])


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\nb", "a\nb\n", True),
        ("a\nb", "a\nc\nb\n", False),
        ("a\n...\nb", "a\nb\n", True),
        ("a\n...\nb", "a\nc\nd\nb\n", True),
        ("a ... b", "a 1.5 b", True),
        ("a ... b", "a 1.5 c", False),
        ('{"a": 1,\n "b": 2}', '{"a": 1, "b": 2}', True),
        ("It was the best, of times.", "it was the best of times,\n", True),
        ("1.5 s", "15 s", False),
    ],
)
def test_what_a_console_prints_is_compared(expected, printed, same):
    assert matches(expected, printed) is same


def test_commands_of_a_console_are_told_from_what_they_print():
    block = "$ one \\\n>   more\nprinted\n$ two\n$ three\n\nprinted\n"
    assert commands_of(block) == [
        ("one \\\n  more\n", "printed"),
        ("two\n", ""),
        ("three\n", "printed"),
    ]


@pytest.mark.parametrize("text", ["```\na\n```\n", "```pyhton\na\n```\n", "```sh\na\n"])
def test_a_block_has_a_language_and_an_end(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(WrongBlockError):
        blocks_of(page)


def test_names_and_regions_are_those_of_the_blocks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '```python\nSageMakerConfig("nova-1", region="eu-west-1")\nf(\n    endpoint_name="a-b")\n'
        "```\n```sh\ndeepgram-sagemaker doctor flux --profile work\n"
        "deepgram-sagemaker transcribe x.wav -e nova --region ap-south-1\n```\n"
    )
    blocks = blocks_of(page)
    assert endpoints_of(blocks) == (
        ["local", "nova-1", "a-b", "flux", "nova"],
        ["us-east-1", "eu-west-1", "ap-south-1"],
    )
    assert profiles_of(blocks) == ["default", "work"]
