"""Whether the actions of a policy of IAM's exist, as far as the AWS SDKs know them."""

import fnmatch
from functools import cache
from importlib import import_module

import botocore.session

NO_OPERATIONS = {
    "iam:PassRole",
    "aws-marketplace:Subscribe",
    "aws-marketplace:Unsubscribe",
    "aws-marketplace:ViewSubscriptions",
}
"""Actions that permit something without being the name of an operation."""


@cache
def _services():
    """The services by the prefix of their actions."""
    session = botocore.session.Session()
    found = {}
    for service in session.get_available_services():
        # Most prefixes are the service's name, and loading all models would take seconds.
        found.setdefault(service.split("-")[0], []).append(service)
    return session, found


@cache
def operations(prefix):
    """The operations of the services whose actions begin with a prefix."""
    session, services = _services()
    found = set()
    for service in services.get(prefix.split("-")[0], ()):
        model = session.get_service_model(service)
        if prefix in (service, model.signing_name, model.endpoint_prefix):
            found.update(model.operation_names)
    if prefix == "sagemaker":
        # botocore does not have it, because it does not speak HTTP/2.
        schemas = import_module("aws_sdk_sagemaker_runtime_http2._private.schemas")
        found.update(
            value.id.name
            for name, value in vars(schemas).items()
            if name.isupper() and hasattr(value, "id")
        )
    return frozenset(found)


def wrong_actions(policy):
    """Return the actions of a policy that do not exist."""
    statements = policy["Statement"]
    wrong = []
    for statement in [statements] if isinstance(statements, dict) else statements:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            prefix, _, name = action.partition(":")
            known = operations(prefix)
            if action not in NO_OPERATIONS and (not known or not fnmatch.filter(known, name)):
                wrong.append(action)
    return wrong
