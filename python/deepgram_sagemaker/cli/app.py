"""The commands and their options. The other modules of this folder do the work."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from deepgram_sagemaker import __version__
from deepgram_sagemaker.errors import SageMakerError

from .completions import faults, regions
from .gateway import gateway, gateway_worker
from .load import load
from .manners import Console, PoliteCommand, PoliteGroup, fail
from .options import EndpointUri, Profile, Region  # noqa: TC001 - typer reads the annotations
from .outcome import run
from .speak import speak
from .transcribe import transcribe

if TYPE_CHECKING:
    from deepgram_sagemaker.conversations.figures import Figures

__all__ = ["app"]

# The demo fails above this rate, which the recogniser's own tests allow.
_WORST_WORD_ERRORS = 0.15

app = typer.Typer(
    name="deepgram-sagemaker",
    cls=PoliteGroup,
    help="Deepgram on Amazon SageMaker: try it on this machine, or against your endpoint.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


# By the names of `doctor.PRODUCTS`, which is imported only where it is needed.
class Product(StrEnum):
    """The family of models behind an endpoint."""

    NOVA = "nova"
    FLUX = "flux"
    AURA = "aura"


class Model(StrEnum):
    """The model behind the local endpoint."""

    SPEECH = "speech"
    WATERMARK = "watermark"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepgram-sagemaker {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", "-V", help="Show the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass


@app.command(cls=PoliteCommand)
def local(
    model: Annotated[
        Model,
        typer.Option(
            help="The model for every product: **speech** hears and speaks English; "
            "**watermark** counts marked chunks of audio, for tests of loss and order."
        ),
    ] = Model.SPEECH,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address to listen on, or localhost. Others can reach any address but loopback: "
            "give the endpoint its own keys then.",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT", help="Port to listen on; 0 takes a free one.", min=0, max=65535
        ),
    ] = 8443,
    endpoint_name: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The name of the SageMaker endpoint that this stands for."
        ),
    ] = "local",
    region: Annotated[
        str,
        typer.Option(
            metavar="REGION",
            help="The region that requests must be signed for.",
            autocompletion=regions,
        ),
    ] = "us-east-1",
    access_key_id: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="The access key whose requests are accepted.",
            envvar="LOCAL_ACCESS_KEY_ID",
        ),
    ] = None,
    secret_access_key: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            help="Its secret. Set in the environment, it does not appear in the list of processes.",
            envvar="LOCAL_SECRET_ACCESS_KEY",
            show_default=False,
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write the certificate authority's PEM file, instead of a temporary one.",
            dir_okay=False,
        ),
    ] = None,
    max_age: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="Seconds after which a stream is ended, as by the service; inf: never.",
            min=0.1,
        ),
    ] = 1800.0,
    max_streams: Annotated[
        int | None,
        typer.Option(
            metavar="COUNT",
            help="The most streams at once; one more is answered with 424, as by an endpoint whose "
            "containers have no room.",
            min=1,
            max=1_000_000,
        ),
    ] = None,
    strict_flux: Annotated[
        bool,
        typer.Option(
            "--strict-flux",
            help="Accept only CloseStream on `v2/listen`, as real Flux containers do.",
        ),
    ] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="A fault to inject: `reset after-audio=3.2` resets a stream after 3.2 s "
            "of audio, `answer status=429 legs=1-2` throttles the first two. "
            "May be given several times; an invalid rule prints the list of rules.",
            metavar="RULE",
            autocompletion=faults,
        ),
    ] = None,
    lenient: Annotated[
        bool,
        typer.Option(
            "--lenient",
            help="Accept paths and parameters that Deepgram's containers refuse. Otherwise a bad "
            "query is answered with 424 and no reason, as by the service; the container's reason "
            "is printed here.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print how to reach it as one line of JSON, and nothing else without -v."
        ),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no line a request, fault and end.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Print connections, parameters and messages too."),
    ] = False,
    stop_with_stdin: Annotated[bool, typer.Option("--stop-with-stdin", hidden=True)] = False,
) -> None:
    """Run an endpoint on this machine that speaks the service's protocol.

    It speaks HTTP/2 over TLS, verifies requests and events, and enforces the service's limits.
    It prints the settings that reach it; Ctrl-C ends it.
    """
    from deepgram_sagemaker.local import Credentials
    from deepgram_sagemaker.local.access import is_loopback

    from .fault_rules import FaultRuleError, parse_fault
    from .serving import serve

    try:
        faults = [parse_fault(rule) for rule in fault or []]
    except FaultRuleError as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from None
    if (access_key_id is None) != (secret_access_key is None):
        raise typer.BadParameter(
            "--access-key-id and --secret-access-key go together",
            param_hint="--secret-access-key" if secret_access_key is None else "--access-key-id",
        )
    for value, hint in (
        (access_key_id, "--access-key-id"),
        (secret_access_key, "--secret-access-key"),
    ):
        if value == "":
            raise typer.BadParameter("must not be empty", param_hint=hint)
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose contradict each other", param_hint="-q")
    if host.lower() == "localhost":
        host = "127.0.0.1"
    if secret_access_key is None and not is_loopback(host):
        raise typer.BadParameter(
            f"an endpoint on {host}, which others can reach, needs keys of its own: "
            "--access-key-id and --secret-access-key, or LOCAL_ACCESS_KEY_ID and "
            "LOCAL_SECRET_ACCESS_KEY in the environment",
            param_hint="--host",
        )
    credentials = None
    if access_key_id is not None and secret_access_key is not None:
        credentials = Credentials(access_key_id=access_key_id, secret_access_key=secret_access_key)
    run(
        serve(
            Console(),
            as_json=as_json,
            stop_with_stdin=stop_with_stdin,
            quiet=quiet,
            verbose=verbose,
            model=model.value,
            host=host,
            port=port,
            credentials=credentials,
            ca_bundle=ca_file,
            endpoint_name=endpoint_name,
            region=region,
            max_streams=max_streams,
            max_stream_age=None if math.isinf(max_age) else max_age,
            faults=faults,
            strict_flux=strict_flux,
            lenient=lenient,
        )
    )


@app.command(cls=PoliteCommand)
def demo(
    speed: Annotated[
        float,
        typer.Option(
            metavar="TIMES",
            help="Speed, in times real time. A small machine's recogniser keeps up with 2.",
            min=0.1,
            max=10.0,
        ),
    ] = 1.5,
) -> None:
    """Transcribe 44 seconds of real speech through the whole path, on this machine.

    The path is the Deepgram SDK, the SageMaker transport, and the local endpoint with a recogniser,
    in a process of its own. Fails if the transcript is wrong or audio is lost.
    """
    from .demonstration import demonstrate

    console = Console()
    figures, errors = run(demonstrate(console, speed=speed, worst=_WORST_WORD_ERRORS))
    if errors > _WORST_WORD_ERRORS:
        fail(f"the transcript is wrong: {errors:.1%} word errors")
    _check_losses(figures)


@app.command(cls=PoliteCommand)
def doctor(
    endpoint_name: Annotated[
        str, typer.Argument(help="The SageMaker endpoint.", metavar="ENDPOINT")
    ],
    region: Region = None,
    profile: Profile = None,
    endpoint_uri: EndpointUri = None,
    ca_bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A PEM file of authorities to trust instead of the system's."
        ),
    ] = None,
    target_variant: Annotated[
        str | None, typer.Option(metavar="NAME", help="The production variant to invoke.")
    ] = None,
    product: Annotated[
        Product, typer.Option(help="The family of models that the endpoint serves.")
    ] = Product.NOVA,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The model, instead of the family's usual one."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Seconds that one step may take.", min=0.1, max=600.0),
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Find out why an endpoint cannot be used: each check, what it found, and what to do.

    It opens one session and sends one second of silence. It prints no keys. The exit status is 0
    if nothing failed.
    """
    from .doctoring import Wanted, case_of, diagnose

    try:
        case = case_of(
            Wanted(
                endpoint_name=endpoint_name,
                region=region,
                profile=profile,
                endpoint_uri=endpoint_uri,
                ca_bundle=ca_bundle,
                target_variant=target_variant,
                product=product.value,
                model=model,
                within=timeout,
            )
        )
    except SageMakerError as error:
        raise typer.BadParameter(str(error)) from None
    if not run(diagnose(Console(), case, as_json=as_json)):
        raise typer.Exit(1)


app.command(cls=PoliteCommand)(transcribe)
app.command(cls=PoliteCommand)(speak)
app.command(cls=PoliteCommand)(load)
app.command(cls=PoliteCommand)(gateway)
app.command(cls=PoliteCommand, hidden=True)(gateway_worker)


def _check_losses(figures: Figures) -> None:
    if figures.lost or figures.repeated:
        fail("not all of the audio was told exactly once")
