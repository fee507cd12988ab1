"""The command `impute`: a file with empty cells, filled in."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pyro_vae.app.opened import trained_program
from pyro_vae.app.options import Device, Folder, Seed

__all__ = ["impute"]


class Kind(StrEnum):
    """What an empty cell is filled with."""

    mean = "mean"
    sample = "sample"


def impute(
    run: Folder,
    data: Annotated[
        Path, typer.Option(help="The file: a table such as my.csv, or an .npy array with NaN.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write, such as filled.csv.")],
    kind: Annotated[
        Kind, typer.Option(help="The mean, or most probable class, or a draw.")
    ] = Kind.mean,
    num_imputations: Annotated[
        int,
        typer.Option(min=0, help="How many files of draws to write beside it: filled-1.csv, ..."),
    ] = 0,
    num_particles: Annotated[
        int, typer.Option(min=1, help="The draws of the latents of each row.")
    ] = 1000,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Fills in the empty cells of a table, and leaves all others as they are.

    RUN is a training on --data "table('my.csv')", of this table or another of the same columns.
    """
    from pyro_vae.app.filling import fill

    program, loaded = trained_program(run, seed, device)
    found, paths = fill(
        program,
        loaded,
        data,
        out,
        kind=kind.value,
        num_imputations=num_imputations,
        num_particles=num_particles,
        progress=True,
    )
    sizes = found.effective_sample_size
    sizes = sizes[~sizes.isnan()]
    print(f"{len(sizes):,} of {len(found.x):,} items had missing entries")
    if len(sizes):
        print(
            f"effective sample size {sizes.min():.1f} to {sizes.max():.1f}, median "
            f"{sizes.median():.1f}, of {num_particles:,} draws"
        )
        if sizes.median() < 10:
            print("few draws tell what is missing: take a larger --num-particles")
    for path in paths:
        print(path)
