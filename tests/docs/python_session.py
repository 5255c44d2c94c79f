"""The Python session of a page, in a process of its own.

Each line of standard input is a block: JSON with `code`, `page`, `line` and `output`, the file for
what the block prints. Each line of standard output answers one: an empty line, or the traceback as
a string of JSON. The directory and the environment are those that the process was started with.
"""

import ast
import asyncio
import inspect
import json
import os
import sys
import traceback


def compiled(block):
    """Returns the block's code object, whose lines are the page's."""
    code = "\n" * (block["line"] - 1) + block["code"]
    return compile(code, block["page"], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def run(runner, block, names):
    code = compiled(block)

    async def inside():
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result

    # `asyncio.run` wants a loop of its own. Everything else may need the session's.
    if "asyncio.run(" in block["code"]:
        exec(code, names)
    else:
        runner.run(inside())


def main():
    names = {"__name__": "__main__"}
    sys.path.insert(0, "")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            block = json.loads(line)
            output = os.open(block["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            failure = ""
            try:
                run(runner, block, names)
            except (Exception, SystemExit):  # noqa: BLE001 - whatever a page raises
                failure = traceback.format_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            answers.write((json.dumps(failure) if failure else "") + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
