"""The command `traverse`: what single numbers of a latent change, as a picture or as texts."""

from typing import Annotated, Any

import typer

from pyro_vae.app.opened import first, trained
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["traverse"]

_JUDGED = 500  # data over which the rates of the numbers are judged


def traverse(
    run: Folder,
    site: Annotated[
        str | None, typer.Option(help="The latent, such as z_2.  [default: the only one]")
    ] = None,
    num: Annotated[
        int, typer.Option("--num", "-n", min=1, help="The numbers to move, of the highest rate.")
    ] = 8,
    steps: Annotated[int, typer.Option(min=2, max=40, help="The steps of each.")] = 7,
    reach: Annotated[
        float, typer.Option(help="The last step, in standard deviations of the prior.")
    ] = 3.0,
    datum: Annotated[int, typer.Option(min=0, help="Which of the data is changed.")] = 0,
    prior: Annotated[
        bool, typer.Option("--prior", help="Change a draw of the prior, and none of the data.")
    ] = False,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes a picture of a datum as single numbers of a latent move, all else fixed, or texts."""
    from pyro_vae.app import figures, texts
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.run import Run

    program, part = trained(run, data, data_dir, split, seed, device)
    if not prior and datum >= len(part):
        raise ValueError(f"--datum is {datum}, but the {split} data are 0 to {len(part) - 1}")
    x, y = labelled(program, first(part, max(_JUDGED, datum + 1)))
    options: dict[str, Any] = {"site": site, "num": num, "steps": steps, "reach": reach}
    options["datum"] = None if prior else datum
    if vocabulary := Run(run).vocabulary:
        lines = texts.Writer(program, vocabulary).traversal(x, y, **options)
        texts.show(lines, out or run / "traversal.txt")
        return
    figure = figures.traversal(program, x, y, **options)
    print(figures.save(figure, out or run / "traversal.png"))
