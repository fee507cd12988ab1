"""The command `reconstruct`: a picture of data above their reconstructions."""

from typing import Annotated

import typer

from pyro_vae.app.opened import first, trained
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["reconstruct"]


def reconstruct(
    run: Folder,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="The number of data.")] = 10,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes a picture of data above their reconstructions."""
    from pyro_vae.app import figures
    from pyro_vae.app.prepare import labelled

    program, part = trained(run, data, data_dir, split, seed, device)
    figure = figures.reconstructions(program, *labelled(program, first(part, num)))
    print(figures.save(figure, out or run / "reconstructions.png"))
