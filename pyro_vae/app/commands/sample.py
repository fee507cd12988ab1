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
        float,
        typer.Option(help="Of a prior of codes: below 1, probable codes become more so."),
    ] = 1.0,
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
        temperature=temperature,
        top_k=top_k,
        ddim_steps=ddim_steps,
        dtype=known.get("x_dtype"),
    )
    print(figures.save(figure, out or run / "samples.png"))
