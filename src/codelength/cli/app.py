"""The application and its commands by topic."""

from __future__ import annotations

from typing import Annotated

import typer

from codelength.cli import coding, listing, modelling, packing
from codelength.cli.examples import epilog
from codelength.cli.groups import ungrouped

HELP = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="codelength",
    help="Likelihood-based generative models that are lossless codecs: the likelihood you report is the file you get.",
    epilog="Examples of a command: codelength COMMAND --help",
    context_settings=HELP,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and exit.")] = False,
) -> None:
    if version:
        import codelength

        print(codelength.__version__)
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())


for command in (
    modelling.demo,
    packing.pack,
    packing.append,
    modelling.train,
    modelling.evaluate,
    modelling.sample,
    coding.compress,
    coding.decompress,
    coding.inspect,
    coding.verify,
    listing.models,
    listing.datasets,
):
    app.command(epilog=epilog(command.__name__), context_settings=HELP)(ungrouped(command))
app.command("unpack", epilog=epilog("unpack"), context_settings=HELP)(ungrouped(coding.decompress))
