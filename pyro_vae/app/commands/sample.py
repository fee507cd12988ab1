"""The command `sample`: a picture of what latents of the prior decode to."""

from typing import Annotated

import typer

from pyro_vae.app.opened import trained_program
from pyro_vae.app.options import Device, Folder, Out, Seed

__all__ = ["sample"]


def sample(
    run: Folder,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="The number of samples.")] = 64,
    draw: Annotated[
        bool, typer.Option(help="Draw x ~ p(x | z), instead of showing its mean.")
    ] = False,
    label: Annotated[
        int | None,
        typer.Option(help="The label y, for a program model(x, y).  [default: a row for each]"),
    ] = None,
    temperature: Annotated[
        str,
        typer.Option(
            help="Below 1, latents are drawn nearer to their means, and codes that are probable "
            "more often: 0.7, or \"{'z_1': 0.5}\" for some latents alone."
        ),
    ] = "1",
    top_k: Annotated[
        int | None,
        typer.Option(help="Draw only the most probable codes, so many.  [default: all]"),
    ] = None,
    ddim_steps: Annotated[
        int | None,
        typer.Option(help="Of a DiffusionPrior: draw by so few, without noise.  [default: all]"),
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draws latents from the prior, and writes a picture of what they decode to."""
    from pyro_vae.app import figures
    from pyro_vae.app.text import read_temperature

    at = read_temperature(temperature)
    program, loaded = trained_program(run, seed, device)
    known = loaded.known
    classes = known.get("num_classes")
    figure = figures.samples(
        program,
        num,
        known["x_shape"],
        num_classes=classes,
        label=label,
        mean=not draw,
        temperature=at,
        top_k=top_k,
        ddim_steps=ddim_steps,
        dtype=known.get("x_dtype"),
    )
    print(figures.save(figure, out or run / "samples.png"))
