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
    """Writes a picture of up to 50 data above their reconstructions; prints the errors of all."""
    from pyro_vae.app import figures
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.results import reconstruction_errors

    program, part = trained(run, data, data_dir, split, seed, device)
    x, y = labelled(program, first(part, num))
    made = figures.reconstructed(program, x, y)
    if said := reconstruction_errors(x, made):
        print(f"{len(x)} {split} data: {said}")
    print(figures.save(figures.beside(x, made), out or run / "reconstructions.png"))
