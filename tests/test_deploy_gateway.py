"""The files in deploy/gateway: true to the command, and safe. No image is built.

`make lint` holds the compose file against its schema.
"""

import asyncio
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import websockets
import yaml
from cli.gateways import QUERY, converse, finish, gateway, send
from deepgram_sagemaker.cli.app import app
from deepgram_sagemaker.cli.gateway_keys import VARIABLE
from deepgram_sagemaker.local import Fault, LocalEndpoint
from deepgram_sagemaker.local.faults import AfterNewChunks, Reset
from test_deploy import DASHBOARD, Prometheus, tool
from typer.main import get_command

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "gateway"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


def kind(name):
    (found,) = (each for each in KUBERNETES if each["kind"] == name)
    return found


def instructions(text):
    """The instructions of a Dockerfile, each with its words; comments and line ends are gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def health_probe():
    """What Docker runs to find out whether the container is well."""
    return yaml.safe_load(dict(instructions(DOCKERFILE))["HEALTHCHECK"].partition("CMD ")[2])


def options_of(words):
    """The options that the command reads from these words; raises if it refuses them."""
    command = get_command(app).commands[words[0]]
    with command.make_context(words[0], list(words[1:])) as context:
        return context.params


# Dockerfile ---------------------------------------------------------------------------------------


def copied():
    """What the Dockerfile copies from the checkout, with where it goes."""
    for name, words in instructions(DOCKERFILE):
        if name == "COPY" and not words.startswith("--from"):
            *sources, target = words.split()
            for source in sources:
                yield source, target


def test_everything_that_is_copied_exists_and_is_not_ignored():
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    sources = {source for source, _ in copied()}
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


def test_what_is_copied_is_a_workspace_that_cargo_reads(tmp_path):
    """Nothing that the build needs is left out, as far as cargo can tell without compiling."""
    for source, target in copied():
        place = tmp_path / (source if target == "./" else target)
        if (ROOT / source).is_dir():
            ignore = shutil.ignore_patterns("*.so", "target", "__pycache__")
            shutil.copytree(ROOT / source, place, ignore=ignore)
        else:
            shutil.copyfile(ROOT / source, place)
    ran = subprocess.run(
        ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    project = (tmp_path / "pyproject.toml").read_text()
    named = re.findall(r'"((?:licenses|tools|LICENSE|README)[^"*]*)"', project)
    assert named
    assert all((tmp_path / each).exists() for each in named), named


def test_the_image_is_slim_and_does_not_run_as_root():
    found = instructions(DOCKERFILE)
    stages = [words for name, words in found if name == "FROM"]
    assert len(stages) == 3
    # Compilers stay in the first stage. What was compiled there runs on the same release of Debian.
    assert stages[-1].startswith("python:3.13-slim")
    (release,) = {re.search(r"slim-(\w+)", stage)[1] for stage in stages}
    assert release
    last = found[max(at for at, (name, _) in enumerate(found) if name == "FROM") :]
    assert ("USER", "10001:10001") in last
    assert [name for name, _ in last].index("USER") < [name for name, _ in last].index("ENTRYPOINT")
    assert not any("pip install" in words for _, words in last[1:])
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())[1]
    assert tuple(map(int, oldest.split("."))) <= (3, 13)


def test_the_image_s_command_is_one_that_the_command_line_takes():
    found = dict(instructions(DOCKERFILE))
    assert yaml.safe_load(found["ENTRYPOINT"]) == ["deepgram-sagemaker"]
    assert options_of(yaml.safe_load(found["CMD"]))["host"] == "0.0.0.0"
    probe = health_probe()
    compile(probe[2], "probe", "exec")
    assert "/readyz" in probe[2]


def test_the_extras_of_the_image_exist():
    extras = set(re.findall(r"^ARG EXTRA=(\w+)", DOCKERFILE, re.MULTILINE))
    extras |= {each["build"]["args"]["EXTRA"] for each in COMPOSE["services"].values()}
    project = (ROOT / "pyproject.toml").read_text()
    assert extras == {"cli", "local"}
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)


def test_the_environment_is_made_by_commands_that_work(tmp_path):
    """The shell's part of the second stage, with a stand-in for pip: what it would install."""
    (run,) = (words for name, words in instructions(DOCKERFILE) if "pip install" in words)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "deepgram_sagemaker-1.0.0-cp312-abi3-linux_x86_64.whl").touch()
    script = run.replace("/wheels", str(wheels)).replace("/opt/gateway/bin/pip", "echo")
    script = script.replace("python -m venv /opt/gateway", "true")
    ran = subprocess.run(
        ["sh", "-ec", script], env={"EXTRA": "cli"}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split()[-1] == (
        f"{wheels}/deepgram_sagemaker-1.0.0-cp312-abi3-linux_x86_64.whl[cli]"
    )


# Compose ------------------------------------------------------------------------------------------


def test_the_gateway_reaches_the_endpoint_of_its_compose_file():
    services = COMPOSE["services"]
    endpoint, gateway = services["endpoint"], services["gateway"]
    local, options = options_of(endpoint["command"]), options_of(gateway["command"])
    assert local["endpoint_name"] == options["endpoint_name"]
    assert local["region"] == options["region"]
    # By the service's own name and port, for which the endpoint's certificate is.
    alias = f"runtime.sagemaker.{options['region']}.amazonaws.com"
    assert endpoint["networks"]["default"]["aliases"] == [alias]
    assert local["port"] == 8443
    assert gateway["environment"]["AWS_CA_BUNDLE"] == str(local["ca_file"])
    folder = str(local["ca_file"].parent)
    assert f"--owner 10001 {folder}" in DOCKERFILE
    for service in (endpoint, gateway):
        (volume,) = service["volumes"]
        assert volume.split(":")[:2] == ["authority", folder]
    for ours, theirs in (
        ("AWS_ACCESS_KEY_ID", "LOCAL_ACCESS_KEY_ID"),
        ("AWS_SECRET_ACCESS_KEY", "LOCAL_SECRET_ACCESS_KEY"),
    ):
        assert gateway["environment"][ours] == endpoint["environment"][theirs]
    # Others can reach the container's port, so there are keys, and the laptop's port is its own.
    assert options["host"] == "0.0.0.0"
    assert ":" in gateway["environment"][VARIABLE]
    assert gateway["ports"] == [f"127.0.0.1:8080:{options['port']}"]
    assert int(gateway["stop_grace_period"].rstrip("s")) > options["drain_timeout"] + 10


async def test_the_chain_of_the_compose_file_carries_a_conversation(tmp_path):
    """Both commands as they are written, on this machine: other ports, the model that counts."""
    services = COMPOSE["services"]
    authority = tmp_path / "authority"
    authority.mkdir()

    def command(name, port):
        words = [each.replace("/authority", str(authority)) for each in services[name]["command"]]
        words = [each for each in words if not each.startswith("--port")]
        return [*words, f"--port={port}"]

    async with started(
        *command("endpoint", 0),
        "--model=watermark",
        "--json",
        **services["endpoint"]["environment"],
    ) as endpoint:
        reachable = json.loads(await endpoint.stdout.readline())
        # The host's name is the service's own there, which no machine has here.
        port = reachable["endpoint_uri"].rpartition(":")[2]
        environment = services["gateway"]["environment"] | {
            "AWS_CA_BUNDLE": str(authority / "ca.pem"),
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME_HTTP2": f"https://localhost:{port}",
        }
        async with started(*command("gateway", 0), **environment) as gateway:
            said = b""
            while not (found := re.search(rb"ws://127\.0\.0\.1:\d+", said)):
                line = await asyncio.wait_for(gateway.stderr.readline(), 30)
                assert line, said
                said += line
            key = environment[VARIABLE].partition(":")[2]
            async with websockets.connect(
                f"{found[0].decode()}/v1/listen?{QUERY}",
                additional_headers={"Authorization": f"Token {key}"},
            ) as socket:
                await send(socket, 50)
                assert await finish(socket) == list(range(50))
            # It is asked as Docker asks for its health.
            probe = yaml.safe_load(
                dict(instructions(DOCKERFILE))["HEALTHCHECK"].partition("CMD ")[2]
            )
            probe[2] = probe[2].replace("127.0.0.1:8080", found[0].decode().removeprefix("ws://"))
            asked = await asyncio.create_subprocess_exec(sys.executable, *probe[1:])
            assert await asked.wait() == 0
            gateway.terminate()
            logged = (await gateway.stdout.read()).decode()
            assert await gateway.wait() == 0
            assert json.loads(logged)["key"] == "laptop"


@contextlib.asynccontextmanager
async def started(*arguments, **environment):
    """The command in a process of its own, which is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deepgram_sagemaker.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# Dashboard and alerts -----------------------------------------------------------------------------


@pytest.mark.patience(120)
async def test_the_dashboard_shows_what_the_gateway_exposes(tmp_path):
    """Every panel has figures on a Prometheus that scrapes `/metrics`."""
    path = tool("prometheus")
    resets = Fault(Reset(), when=AfterNewChunks(40), times=2)
    with LocalEndpoint("mine", faults=[resets]) as endpoint:
        async with gateway(endpoint=endpoint) as running:
            await running.up()
            prometheus = Prometheus(path, tmp_path, running.url.rpartition(":")[2])

            async def answered(expression):
                return await asyncio.to_thread(prometheus.wait, lambda p: p.query(expression))

            try:
                numbers, _ = await converse(running, 100)
                assert numbers == list(range(100))
                # A rate needs something before.
                await answered("deepgram_sagemaker_gateway_closes_total == 1")
                await converse(running, 20)
                known = {"$__rate_interval": "10s", "$__range": "5m", "$endpoint": ".*"}
                for panel in DASHBOARD["panels"]:
                    for target in panel["targets"]:
                        expression = target["expr"].replace("$path", ".*")
                        for name, value in known.items():
                            expression = expression.replace(name, value)
                        assert await answered(expression), panel["title"]
                resets = await answered("sum(deepgram_sagemaker_leg_resets_total) == 2")
                assert len(resets) == 1
            finally:
                await asyncio.to_thread(prometheus.stop)


# Kubernetes ---------------------------------------------------------------------------------------


def pod():
    return kind("Deployment")["spec"]["template"]["spec"]


def container():
    (found,) = pod()["containers"]
    return found


def test_the_manifests_are_of_kinds_that_exist():
    assert {(each["apiVersion"], each["kind"]) for each in KUBERNETES} == {
        ("v1", "ServiceAccount"),
        ("apps/v1", "Deployment"),
        ("v1", "Service"),
        ("autoscaling/v2", "HorizontalPodAutoscaler"),
        ("policy/v1", "PodDisruptionBudget"),
    }
    assert all(each["metadata"]["name"] == "deepgram-gateway" for each in KUBERNETES)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_reads_the_manifests(tmp_path):
    shutil.copy(FOLDER / "kubernetes.yaml", tmp_path)
    (tmp_path / "kustomization.yaml").write_text("resources: [kubernetes.yaml]\n")
    ran = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert list(yaml.safe_load_all(ran.stdout)).__len__() == len(KUBERNETES)


def test_a_pod_has_time_to_drain():
    options = options_of(container()["args"])
    (_, pause) = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert pod()["terminationGracePeriodSeconds"] >= int(pause) + options["drain_timeout"] + 15
    # Readiness is asked often enough that a pod that drains gets no more connections.
    assert container()["readinessProbe"]["periodSeconds"] <= int(pause)


def test_the_pod_runs_what_the_command_takes_on_the_port_that_is_asked():
    options = options_of(container()["args"])
    assert options["host"] == "0.0.0.0"
    (port,) = container()["ports"]
    assert port["containerPort"] == options["port"]
    for probe, path in (
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
        ("startupProbe", "/healthz"),
    ):
        assert container()[probe]["httpGet"] == {"path": path, "port": port["name"]}
    annotations = kind("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(options["port"])
    assert annotations["prometheus.io/path"] == "/metrics"
    mounts = {each["name"]: each["mountPath"] for each in container()["volumeMounts"]}
    assert str(options["keys"].parent) == mounts["keys"]
    volumes = {each["name"] for each in pod()["volumes"]}
    assert volumes == mounts.keys()


def test_the_pod_has_no_more_rights_than_it_needs():
    security = pod()["securityContext"]
    assert security["runAsNonRoot"]
    assert f"USER {security['runAsUser']}:{security['runAsGroup']}" in DOCKERFILE
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    # The file of keys can be read by its group, which is the pod's.
    (keys,) = (each["secret"] for each in pod()["volumes"] if each["name"] == "keys")
    assert keys["defaultMode"] == 0o440
    assert security["fsGroup"] == security["runAsGroup"]


def test_the_parts_name_each_other():
    labels = kind("Deployment")["spec"]["template"]["metadata"]["labels"]
    for selector in (
        kind("Deployment")["spec"]["selector"]["matchLabels"],
        kind("Service")["spec"]["selector"],
        kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    target = kind("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "deepgram-gateway")
    (port,) = kind("Service")["spec"]["ports"]
    assert port["targetPort"] == container()["ports"][0]["name"]
    assert pod()["serviceAccountName"] == kind("ServiceAccount")["metadata"]["name"]
    # The autoscaler divides by what is requested.
    assert container()["resources"]["requests"]["cpu"]


def test_the_commands_in_comments_are_whole():
    for words in re.findall(r"^#     (docker .*)$", DOCKERFILE, re.MULTILINE):
        assert shlex.split(words.rstrip("\\"))[0] == "docker"
    assert "-f deploy/gateway/Dockerfile" in DOCKERFILE
    assert (
        f"-f {(FOLDER / 'compose.yaml').relative_to(ROOT)}" in (FOLDER / "compose.yaml").read_text()
    )
