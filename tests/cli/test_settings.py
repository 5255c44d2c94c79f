"""What `local` says to type, for the shells of each system."""

import os
import shutil
import subprocess

import pytest
from deepgram_sagemaker.cli.served import Reachable
from deepgram_sagemaker.cli.serving import settings

REACHABLE = Reachable(
    endpoint_name="mine",
    region="us-east-1",
    endpoint_uri="https://127.0.0.1:8443",
    ca_bundle=r"C:\Users\An O'Neil\ca.pem",
    access_key_id="AKIALOCAL",
    secret_access_key="a+b/c=",
)

BEFORE = {
    "AWS_SESSION_TOKEN": "old",
    "AWS_SECURITY_TOKEN": "old",
    "AWS_PROFILE": "old",
    "AWS_DEFAULT_PROFILE": "old",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
    "AWS_REGION": "eu-west-3",
}

AFTER = {
    "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": "https://127.0.0.1:8443",
    "AWS_CA_BUNDLE": r"C:\Users\An O'Neil\ca.pem",
    "AWS_ACCESS_KEY_ID": "AKIALOCAL",
    "AWS_SECRET_ACCESS_KEY": "a+b/c=",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def told(title):
    (lines,) = [
        lines
        for windows in (True, False)
        for given, lines, _ in settings(REACHABLE, windows=windows)
        if given == title
    ]
    return lines


def variables(output):
    pairs = [line.split("=", 1) for line in output.splitlines() if "=" in line]
    return {name: value for name, value in pairs if name.upper().startswith(("AWS_", "NO_PROXY"))}


@pytest.mark.parametrize("proxy", [None, "intranet,10.0.0.0/8"])
@pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell here")
def test_a_posix_shell_passes_it_on(proxy):
    before = {} if proxy is None else {"NO_PROXY": proxy}
    run = subprocess.run(
        ["sh"],
        input=told("In the shell") + "\nenv\n",
        env={"PATH": os.environ["PATH"]} | BEFORE | before,
        capture_output=True,
        text=True,
        check=True,
    )
    after = "127.0.0.1" if proxy is None else f"127.0.0.1,{proxy}"
    assert variables(run.stdout) == AFTER | {"NO_PROXY": after, "no_proxy": after}


@pytest.mark.parametrize("proxy", [None, "intranet,10.0.0.0/8"])
@pytest.mark.skipif(os.name != "nt", reason="needs Windows; tools/windows-check tries it on wine")
def test_cmd_passes_it_on(proxy):
    before = {} if proxy is None else {"NO_PROXY": proxy}
    run = subprocess.run(
        ["cmd", "/q", "/d"],
        input=told("In cmd") + "\nset\n",
        env=os.environ | BEFORE | before,
        capture_output=True,
        text=True,
        check=True,
    )
    after = "127.0.0.1" if proxy is None else f"127.0.0.1,{proxy}"
    assert variables(run.stdout).items() >= (AFTER | {"NO_PROXY": after}).items()


@pytest.mark.parametrize("proxy", [None, "intranet,10.0.0.0/8"])
@pytest.mark.skipif(shutil.which("pwsh") is None, reason="no PowerShell here")
def test_powershell_passes_it_on(proxy):
    before = {} if proxy is None else {"NO_PROXY": proxy}
    show = 'Get-ChildItem env: | ForEach-Object { "$($_.Name)=$($_.Value)" }'
    run = subprocess.run(
        ["pwsh", "-NoProfile", "-Command", told("In PowerShell") + "\n" + show],
        env=os.environ | BEFORE | before,
        capture_output=True,
        text=True,
        check=True,
    )
    after = "127.0.0.1" if proxy is None else f"127.0.0.1,{proxy}"
    assert variables(run.stdout).items() >= (AFTER | {"NO_PROXY": after}).items()


def test_powershell_gets_each_value_in_quotes():
    lines = told("In PowerShell").splitlines()
    assert r"$env:AWS_CA_BUNDLE = 'C:\Users\An O''Neil\ca.pem'" in lines
    assert "$env:AWS_PROFILE = $null" in lines


def test_cmd_gets_each_value_as_it_is():
    lines = told("In cmd").splitlines()
    assert r'set "AWS_CA_BUNDLE=C:\Users\An O' + "'" + r'Neil\ca.pem"' in lines
    assert 'set "AWS_PROFILE="' in lines
