"""The command line: `pyro-vae VERB ...`. What one writes here is what one writes in Python."""

import sys
import warnings
from typing import Annotated

import typer

from pyro_vae.app.commands.anomalies import anomalies
from pyro_vae.app.commands.arithmetic import arithmetic
from pyro_vae.app.commands.augment import augment
from pyro_vae.app.commands.check import check
from pyro_vae.app.commands.compare import compare
from pyro_vae.app.commands.disentangle import disentangle
from pyro_vae.app.commands.encode import encode
from pyro_vae.app.commands.evaluate import evaluate
from pyro_vae.app.commands.explain import explain
from pyro_vae.app.commands.explore import explore
from pyro_vae.app.commands.export import export
from pyro_vae.app.commands.impute import impute
from pyro_vae.app.commands.interpolate import interpolate
from pyro_vae.app.commands.list import list_
from pyro_vae.app.commands.manifold import manifold
from pyro_vae.app.commands.reconstruct import reconstruct
from pyro_vae.app.commands.sample import sample
from pyro_vae.app.commands.train import train
from pyro_vae.app.commands.traverse import traverse

from .errors import TRACEBACK, printable, show_warning, stop

__all__ = ["app", "main"]

# The commands import torch in their bodies, so that --help is quick.
app = typer.Typer(
    help="Variational autoencoders as Pyro programs: train them, judge them, look at them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
# In the order in which --help lists them.
app.command()(train)
app.command()(evaluate)
app.command()(sample)
app.command()(reconstruct)
app.command()(impute)
app.command()(interpolate)
app.command()(traverse)
app.command()(arithmetic)
app.command()(manifold)
app.command()(explore)
app.command()(encode)
app.command()(augment)
app.command()(disentangle)
app.command()(anomalies)
app.command()(explain)
app.command()(export)
app.command()(check)
app.command()(compare)
app.command(name="list")(list_)


@app.callback()
def _options(
    traceback: Annotated[  # read by main, so that it may stand anywhere
        bool, typer.Option(TRACEBACK, help="Shows all of where an error comes from.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line; what a user can mend is one sentence and exit code 2."""
    words = [word for word in sys.argv[1:] if word != TRACEBACK] or ["--help"]
    printable()
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            code = app(words, standalone_mode=False)
        except Exception as error:
            code = stop(error, shows_traceback=TRACEBACK in sys.argv)
    if code:
        sys.exit(code)
