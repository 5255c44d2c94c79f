"""Private names of other packages that our modules read: each of them still exists.

They may go with any release, and what reads them would then fall back in silence.
"""

import ast
from pathlib import Path

import boto3
import botocore.session
import deepgram.transport
import deepgram_sagemaker
import pytest

PACKAGE = Path(deepgram_sagemaker.__file__).parent

READ = {
    "_session": "boto3.Session",
    "_active_async_factory": "deepgram.transport",
    "_active_sync_factory": "deepgram.transport",
    # Tested where pipecat is: tests/pipecat.
    "_end_turn_cut_short": "pipecat's DeepgramFluxSageMakerSTTService",
}
"""The owner of each name."""


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def private_names(tree):
    """Returns the names that a module reads from other objects, and those of its own objects."""
    read, own = set(), set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                own.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                own.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                own.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name):
                read.add(name)
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr" | "attrgetter"),
                args=[owner, ast.Constant(value=str(name)), *_],
            ) if not (isinstance(owner, ast.Name) and owner.id == "self"):
                read.add(name)
            case ast.ImportFrom(module=module, names=names) if is_foreign(module):
                read.update(part for part in module.split("."))
                read.update(each.name for each in names)
            case ast.Import(names=names):
                read.update(part for each in names for part in each.name.split("."))
            case ast.Call(
                func=ast.Name(id="import_module"), args=[ast.Constant(value=str(module))]
            ):
                read.update(module.split("."))
    return {name for name in read if is_private(name)}, own


def is_foreign(module):
    return module is not None and not module.startswith("deepgram_sagemaker")


def test_the_table_has_every_private_name_that_is_read():
    foreign = set()
    for path in PACKAGE.rglob("*.py"):
        read, own = private_names(ast.parse(path.read_text(encoding="utf-8")))
        foreign |= read - own
    # `from ._native import …`, ours, is relative and has no module with a dot.
    assert foreign - {"_native"} == READ.keys()


def test_a_boto3_session_has_a_botocore_session():
    name = "_session"
    core = getattr(boto3.Session(region_name="us-east-1"), name, None)
    assert core is not None, f"{READ[name]} has no {name} any more: see aws/shared_files, config"
    assert isinstance(core, botocore.session.Session)
    assert callable(core.get_credentials)


@pytest.mark.parametrize("name", ["_active_async_factory", "_active_sync_factory"])
def test_the_deepgram_sdk_says_which_factory_is_installed(name):
    assert hasattr(deepgram.transport, name), (
        f"{READ[name]} has no {name} any more: see factory, local/pytest_plugin"
    )
