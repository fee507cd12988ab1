"""The command `sample`: what latents of the prior decode to, as a picture or as texts."""

from typing import Annotated

import typer

from pyro_vae.app.opened import trained_program
from pyro_vae.app.options import DataDir, Device, Folder, Out, Seed

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
            help="Below 1, latents are drawn nearer to their means, and codes and tokens that are "
            "probable more often: 0.7, or \"{'x': 0.7}\" for some latents, or the data, alone."
        ),
    ] = "1",
    top_k: Annotated[
        int | None,
        typer.Option(help="Draw only the most probable codes or tokens, so many.  [default: all]"),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw only the fewest of so much probability, such as 0.9."),
    ] = None,
    ddim_steps: Annotated[
        int | None,
        typer.Option(help="Of a DiffusionPrior: draw by so few, without noise.  [default: all]"),
    ] = None,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Draws latents from the prior, and writes a picture of what they decode to, or texts.

    Texts are drawn token after token. Of molecules, a picture and a table of what they are judged
    by come beside their SMILES; --data-dir says where the data are that they are compared with.
    """
    from pyro_vae.app import figures, molecules, texts
    from pyro_vae.app.text import read_temperature

    at = read_temperature(temperature)
    program, loaded = trained_program(run, seed, device)
    known = loaded.known
    classes = known.get("num_classes")
    if loaded.vocabulary is not None:
        found, y = texts.Writer(program, loaded.vocabulary).samples(
            num,
            known["x_shape"],
            num_classes=classes,
            label=label,
            temperature=at,
            top_k=top_k,
            top_p=top_p,
            ddim_steps=ddim_steps,
        )
        lines, path = texts.with_labels(found, y, label), out or run / "samples.txt"
        if loaded.vocabulary.notation is None:
            texts.show(lines, path)
            return
        molecules.check_out(path)
        print(texts.save(lines, path))
        molecules.show(loaded, found, path, data_dir)
        return
    figure = figures.samples(
        program,
        num,
        known["x_shape"],
        num_classes=classes,
        label=label,
        mean=not draw,
        temperature=at,
        top_k=top_k,
        top_p=top_p,
        ddim_steps=ddim_steps,
        dtype=known.get("x_dtype"),
    )
    print(figures.save(figure, out or run / "samples.png"))
