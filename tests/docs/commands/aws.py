"""`aws` on a page: nothing is called; the command is held against botocore's models.

The operation and its parameters have to exist, and the values have to be of their types. What it
prints is an answer of the operation's form, through `--query` if there is one.
"""

import difflib
import json
import re
import sys
from pathlib import Path

import botocore.session
import jmespath
from botocore import xform_name
from botocore.exceptions import DataNotFoundError, UnknownServiceError
from botocore.validate import ParamValidator

FREE = {("configure",), ("sso", "login"), ("logs", "tail"), ("s3", "cp"), ("s3", "ls")}
"""Commands that are the command line's own and in no model."""

GLOBAL = {"region", "profile", "output", "query", "endpoint-url", "cli-input-json"}
"""Options of every command that take a value."""

FLAGS = {"no-cli-pager", "no-paginate", "debug", "no-verify-ssl"}

SAMPLES = {
    "EndpointStatus": "InService",
    "EndpointName": "my-deepgram-endpoint",
    "Account": "123456789012",
}


def dashed(name):
    return xform_name(name, "-")


def value_of(shape, words):
    """The value of an option: JSON, a file, the short syntax, or the words themselves."""
    word = words[0] if len(words) == 1 else None
    if word is not None and word.startswith("file://"):
        word = Path(word.removeprefix("file://")).read_text(encoding="utf-8")
        if shape.type_name == "string":
            return word
    if shape.type_name == "list":
        if word is not None and word.lstrip().startswith("["):
            return json.loads(word)
        return [value_of(shape.member, [each]) for each in words]
    if word is None:
        sys.exit(f"{shape.name} takes one value, not {words}")
    if shape.type_name in ("structure", "map"):
        if word.lstrip().startswith("{"):
            return json.loads(word)
        pairs = re.findall(r"(\w+)=(\[[^]]*\]|\{[^}]*\}|[^,]*)(?:,|$)", word)
        if not pairs:
            sys.exit(f"{word!r} is not the short syntax of {shape.name}")
        return {name: member_of(shape, name, text) for name, text in pairs}
    if shape.type_name in ("integer", "long"):
        return int(word)
    if shape.type_name in ("float", "double"):
        return float(word)
    if shape.type_name == "boolean":
        return {"true": True, "false": False}[word.lower()]
    return word


def member_of(shape, name, text):
    if shape.type_name == "map":
        return value_of(shape.value, [text])
    if name not in shape.members:
        sys.exit(f"{shape.name} has no {name}; it has {', '.join(shape.members)}")
    member = shape.members[name]
    if member.type_name == "list" and text.startswith("["):
        return [value_of(member.member, [each.strip()]) for each in text[1:-1].split(",")]
    return value_of(member, [text])


def check_words(shape, value, path):
    """What botocore's own check leaves to the service: enumerations, patterns, lengths of names."""
    if shape.type_name == "structure":
        for name, each in value.items():
            check_words(shape.members[name], each, f"{path}.{name}")
    elif shape.type_name == "list":
        for each in value:
            check_words(shape.member, each, path)
    elif shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            near = difflib.get_close_matches(value, shape.enum) or shape.enum[:9]
            sys.exit(f"{path}: {value!r} does not exist; there are {', '.join(near)}")
        pattern = shape.metadata.get("pattern")
        if pattern:
            try:
                fits = re.fullmatch(pattern.replace(r"\p{", "{"), value)
            except re.error:
                return
            if not fits and "{" not in pattern:
                sys.exit(f"{path}: {value!r} does not match {pattern}")


def options_of(words):
    """The options by name, each with its words."""
    found = {}
    name = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = [value] if equals else []
        elif name is None:
            sys.exit(f"{word!r} belongs to no option")
        else:
            found[name].append(word)
    return found


def sample(shape, depth=0):
    """An answer of a shape."""
    if shape.type_name == "structure":
        if depth > 6:
            return {}
        return {
            name: SAMPLES.get(name) or sample(member, depth + 1)
            for name, member in shape.members.items()
        }
    if shape.type_name == "list":
        return [sample(shape.member, depth + 1)]
    if shape.type_name == "map":
        return {}
    if shape.type_name in ("integer", "long", "float", "double"):
        return 1
    if shape.type_name == "boolean":
        return True
    if shape.type_name == "timestamp":
        return "2026-01-01T00:00:00Z"
    if shape.enum:
        return shape.enum[0]
    if shape.name.endswith("Arn"):
        return "arn:aws:sagemaker:us-east-1:123456789012:model/example"
    return "example"


def main(words):
    plain = [word for word in words if not word.startswith("-")]
    if any(tuple(plain[: len(free)]) == free for free in FREE):
        return
    service, operation, *rest = words
    session = botocore.session.Session()
    try:
        model = session.get_service_model(service)
    except (UnknownServiceError, DataNotFoundError) as error:
        sys.exit(str(error))
    waits = operation == "wait"
    if waits:
        waiters = session.get_waiter_model(service)
        names = {dashed(name): name for name in waiters.waiter_names}
        if not rest or rest[0] not in names:
            sys.exit(f"aws {service} wait: it has {', '.join(sorted(names))}")
        wanted = waiters.get_waiter(names[rest.pop(0)]).operation
    else:
        names = {dashed(name): name for name in model.operation_names}
        if operation not in names:
            sys.exit(f"aws {service}: there is no operation {operation}")
        wanted = names[operation]
    known = model.operation_model(wanted)
    members = {dashed(name): name for name in getattr(known.input_shape, "members", {})}
    given, query = {}, None
    for name, values in options_of(rest).items():
        positive = name.removeprefix("no-")
        if name in members:
            shape = known.input_shape.members[members[name]]
            given[members[name]] = value_of(shape, values or ["true"])
        elif positive in members and not values:
            given[members[positive]] = False
        elif name in GLOBAL and len(values) == 1:
            query = values[0] if name == "query" else query
        elif name not in FLAGS or values:
            sys.exit(f"aws {service} {operation}: --{name} {' '.join(values)} is wrong here")
    if known.input_shape is not None:
        report = ParamValidator().validate(given, known.input_shape)
        if report.has_errors():
            sys.exit(f"aws {service} {operation}: {report.generate_report()}")
        check_words(known.input_shape, given, wanted)
    if waits or known.output_shape is None:
        return
    answer = sample(known.output_shape)
    if query is not None:
        answer = jmespath.search(query, answer)
        if answer is None:
            sys.exit(f"--query {query}: the answer of {wanted} has nothing there")
    sys.stdout.write((answer if isinstance(answer, str) else json.dumps(answer)) + "\n")


main(sys.argv[1:])
