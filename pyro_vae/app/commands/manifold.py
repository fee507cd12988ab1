"""The command `manifold`: a picture of the latent space."""

from typing import Annotated

import typer

from pyro_vae.app.opened import in_memory, trained
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["manifold"]


def manifold(
    run: Folder,
    columns: Annotated[
        int, typer.Option(min=2, help="The columns of the grid of a 2-D latent.")
    ] = 20,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes a picture of the latent space: a 2-D one decoded on a grid, else where data lie.

    Of texts, it is where they lie.
    """
    from pyro_vae.app import figures
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.run import Run

    program, part = trained(run, data, data_dir, split, seed, device)
    part = in_memory(part)
    x, y = labelled(program, part)
    pictures = Run(run).vocabulary is None
    figure = figures.latent_space(program, x, y, part.y, columns=columns, pictures=pictures)
    print(figures.save(figure, out or run / "manifold.png"))
