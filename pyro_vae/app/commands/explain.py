"""The command `explain`: a program and its bound as they stand on a blackboard, with numbers."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pyro_vae.app.options import DataDir, Device, Part, Seed, Split

__all__ = ["explain"]


class Format(StrEnum):
    """How an explanation is printed."""

    text = "text"
    latex = "latex"


def explain(
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM_OR_RUN", help='A folder that train has written, or "VAE()", my_vae.py.'
        ),
    ],
    loss: Annotated[
        str | None,
        typer.Option(help="The estimator.  [default: the run's; Trace_ELBO of a program]"),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The data.  [default: the run's; digits for a program]")
    ] = None,
    split: Split = Part.test,
    num: Annotated[
        int, typer.Option("--num", "-n", min=1, help="The data of the batch: the first ones.")
    ] = 500,
    step: Annotated[
        int | None,
        typer.Option(min=0, help="At which schedules stand.  [default: the run's last; else 0]"),
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", help="What is printed: text, or LaTeX.")
    ] = Format.text,
    out: Annotated[Path | None, typer.Option(help="A picture to write, such as out.png.")] = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Prints a program's plate diagram, densities and bound, with the value of each term.

    The terms are those of the estimator, by the names of the program's own sites, and their values
    are means over a batch, in nats, with standard errors. --out draws the same as a picture.
    """
    from pyro_vae.app.explaining import explanation_of
    from pyro_vae.app.figures import save

    found = explanation_of(
        program,
        loss,
        data,
        split=split,
        num_data=num,
        step=step,
        data_dir=data_dir,
        seed=seed,
        device=device,
    )
    print(found.latex if format == Format.latex else found.text)
    if out is not None:
        print(save(found.plot(), out))
