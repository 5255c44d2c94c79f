"""What shells complete, in the shells themselves where they are installed."""

import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache

import pytest
from deepgram_sagemaker.cli import completions
from deepgram_sagemaker.cli.fault_rules import FaultRuleError, actions, parse_fault

try:
    import pty
except ImportError:  # There is none on Windows.
    pty = None

COMMAND = "deepgram-sagemaker"


def needs(shell):
    missing = pty is None or shutil.which(shell) is None
    return pytest.mark.skipif(missing, reason=f"{shell} or its terminal is not there")


@pytest.fixture
def environment(tmp_path):
    """A home, and the command on the path as an installation puts it there."""
    command = tmp_path / "bin" / COMMAND
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m deepgram_sagemaker "$@"\n'
    )
    command.chmod(0o755)
    (tmp_path / "aws-config").write_text("[profile production]\n[profile staging]\n")
    return os.environ | {
        "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
    }


def ran(*command, environment):
    finished = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=40, check=False
    )
    assert finished.stderr == ""
    return finished.stdout


@cache
def script(shell):
    """What the shell is told at its start."""
    variables = os.environ | {"_DEEPGRAM_SAGEMAKER_COMPLETE": f"source_{shell}"}
    return ran(sys.executable, "-m", "deepgram_sagemaker", environment=variables)


@needs("bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["tr"], ["transcribe"]),
        (["doctor", "--prod"], ["--product"]),
        (["doctor", "mine", "--product", ""], ["nova", "flux", "aura"]),
        (["transcribe", "--region", "eu-central"], ["eu-central-1", "eu-central-2"]),
        (["speak", "--profile", "prod"], ["production"]),
        (["local", "--fault", "end"], ["end-early"]),
        (["local", "--fault", "'reset after-rep"], ["reset after-replies="]),
    ],
)
def test_bash_completes(environment, words, completed):
    program = (
        f"{script('bash')}\nCOMP_WORDS=({COMMAND} {shlex.join(words)})\n"
        f"COMP_CWORD={len(words)}\n_deepgram_sagemaker_completion {COMMAND}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert ran("bash", "--norc", "-c", program, environment=environment).splitlines() == completed


@needs("fish")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("tr", ["transcribe"]),
        ("doctor mine --product f", ["flux"]),
        ("local --fault 'reset after-rep", ["reset after-replies="]),
    ],
)
def test_fish_completes(environment, typed, completed):
    program = f"{script('fish')}\ncomplete -C {shlex.quote(f'{COMMAND} {typed}')}"
    lines = ran("fish", "--no-config", "-c", program, environment=environment).splitlines()
    assert [line.partition("\t")[0] for line in lines] == completed


@needs("zsh")
def test_zsh_completes(environment, tmp_path):
    path = tmp_path / "completion.zsh"
    path.write_text(script("zsh"))
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "dumb"},
        start_new_session=True,
    )
    os.close(theirs)

    def shows(pattern):
        seen, until = b"", time.monotonic() + 30
        while not re.search(pattern, seen):
            assert time.monotonic() < until, seen
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 1 << 16)

    try:
        os.write(
            ours, f"autoload -Uz compinit; compinit -u -D; source {path}; echo go''on\n".encode()
        )
        shows(rb"\ngoon")
        for typed, shown in (
            (b"doct\t", rb"doctor "),
            (b"mine --prod\t", rb"--product "),
            (b"fl\t", rb"flux "),
        ):
            os.write(ours, (f"{COMMAND} ".encode() if typed == b"doct\t" else b"") + typed)
            shows(shown)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


@needs("bash")
def test_it_is_installed_for_the_shell_that_runs_it(environment, tmp_path):
    # In two commands, because a shell replaces itself by a single one.
    told = ran(
        "bash", "--norc", "-c", f"{COMMAND} --install-completion; true", environment=environment
    )
    assert told.startswith("bash completion installed in ")
    assert "COMPREPLY" in (tmp_path / ".bash_completions" / f"{COMMAND}.sh").read_text()
    shown = ran(
        "bash", "--norc", "-c", f"{COMMAND} --show-completion; true", environment=environment
    )
    assert shown.strip() == script("bash").strip()


def test_a_home_that_cannot_be_written_is_one_line(environment, tmp_path):
    (tmp_path / ".bash_completions").write_text("in the way")
    finished = subprocess.run(
        # With one command alone bash would make way for it, and would not be found.
        ["bash", "--norc", "-c", f"{COMMAND} --install-completion; exit $?"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert finished.returncode == 1
    assert re.fullmatch(r"Failed: .*exists: .*\.bash_completions\n", finished.stderr)


def test_every_fault_is_completed_to_a_rule_that_can_be_read():
    """Up to the values, which only the person who types knows."""
    assert completions.faults("") == sorted(name.replace("_", "-") for name in actions())
    refused = []
    for action in completions.faults(""):
        assert completions.faults(f"{action} legs")
        for rule in completions.faults(f"{action} "):
            try:
                parse_fault(rule)
            except FaultRuleError as error:
                refused.append(str(error))
    assert refused
    value_is_missing = re.compile(r"=: must be | needs [a-z-]+=VALUE, ")
    assert [each for each in refused if not value_is_missing.search(each)] == []


def test_what_goes_wrong_completes_nothing(monkeypatch, tmp_path):
    (tmp_path / "broken").write_text("[[[")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "broken"))
    assert completions.profiles("") == []
    assert completions.faults("explode ") == []
