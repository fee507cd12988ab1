"""The command `reconstruct`: data and their reconstructions, as a picture or as texts."""

from typing import Annotated

import typer

from pyro_vae.app.opened import first, trained
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["reconstruct"]


def reconstruct(
    run: Folder,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="The number of data.")] = 10,
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Show up to 20 from the top latent alone, the top two, ..."),
    ] = False,
    temperature: Annotated[
        str,
        typer.Option(
            help="With --layers, of the latents below: 0 is their mean, 1 a draw; or some by name, "
            "as of sample."
        ),
    ] = "0",
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes a picture of up to 50 data above their reconstructions; prints the errors of all.

    Of texts, the likeliest words given the latents of each.
    """
    from pyro_vae.app import figures, molecules, texts
    from pyro_vae.app.generation import reconstructed
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.results import reconstruction_errors
    from pyro_vae.app.run import Run
    from pyro_vae.app.text import read_temperature

    at = read_temperature(temperature)
    program, part = trained(run, data, data_dir, split, seed, device)
    x, y = labelled(program, first(part, num))
    if vocabulary := Run(run).vocabulary:
        if layers:
            raise ValueError("--layers is a picture, and texts are none; leave it out")
        both = texts.Writer(program, vocabulary).reconstructions(x, y)
        texts.show(texts.pairs(*both), out or run / "reconstructions.txt")
        if vocabulary.notation is not None:
            print(molecules.same(*both))
        return
    if layers:
        figure = figures.layers(program, x, y, temperature=at)
        print(figures.save(figure, out or run / "layers.png"))
        return
    made = reconstructed(program, x, y)
    if said := reconstruction_errors(x, made):
        print(f"{len(x)} {split} data: {said}")
    print(figures.save(figures.beside(x, made), out or run / "reconstructions.png"))
