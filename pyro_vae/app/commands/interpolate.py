"""The command `interpolate`: lines in latent space between data, as a picture or as texts."""

from typing import Annotated

import typer

from pyro_vae.app.opened import in_memory, trained
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["interpolate"]


def interpolate(
    run: Folder,
    pair: Annotated[
        list[str] | None,
        typer.Option(help='Two items of the data, "3,17"; may be repeated.  [default: five pairs]'),
    ] = None,
    steps: Annotated[
        int,
        typer.Option(min=2, max=40, help="The number of points on each line, its ends included."),
    ] = 8,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes a picture of straight lines in latent space between pairs of data, or their texts."""
    from pyro_vae.app import figures, texts
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.run import Run

    program, part = trained(run, data, data_dir, split, seed, device)
    part = in_memory(part)
    if len(part) < 2:
        raise ValueError(f"the {split} data are {len(part)} item, but a line needs two")
    some = [f"{i},{i + 1}" for i in range(0, min(len(part) - 1, 10), 2)]
    pairs = [_pair(text, len(part)) for text in pair or some]
    x, y = labelled(program, part)
    chosen = [[items[end] for items in pairs] for end in (0, 1)]
    start, stop = (x[items] for items in chosen)
    labels = (None, None) if y is None else (y[chosen[0]], y[chosen[1]])
    if vocabulary := Run(run).vocabulary:
        writer = texts.Writer(program, vocabulary)
        lines = writer.interpolations(start, stop, labels, steps=steps)
        texts.show(lines, out or run / "interpolation.txt")
        return
    figure = figures.interpolation(program, start, stop, labels, steps=steps)
    print(figures.save(figure, out or run / "interpolation.png"))


def _pair(text: str, size: int) -> tuple[int, int]:
    try:
        first, second = (int(item) for item in text.split(","))
    except ValueError:
        raise ValueError(f'--pair takes two numbers such as "3,17", but got {text!r}') from None
    if not (0 <= first < size and 0 <= second < size):
        raise ValueError(f"--pair {text} names items outside 0 to {size - 1}")
    return first, second
