"""The AWS side of a leg: where the service is, how it is called, and what its failures mean.

- `client` opens legs; `preparation` makes once, in a thread, what they share.
- `operation` is the only module that uses the AWS SDK, in every supported version.
- `endpoints` finds region, URI, authorities and proxy; `shared_files` reads `~/.aws` as botocore
  does.
- `failures` turns what went wrong into errors.

May import `_native`, `credentials`, and the modules that all may import (`config`, `errors`,
`discretion`, `errands`, `invocation`, `wakeups`); never `transport` or `factory`. Tests: tests/aws,
and end to end tests/e2e/test_failures.py and tests/e2e/test_aws_sdks.py.
"""
