"""The command `interpolate`: lines in latent space between data, as a picture or as texts."""

import re
from typing import Annotated, Any

import typer

from pyro_vae.app.opened import in_memory, trained, trained_program
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["interpolate"]

_NUMBERS = re.compile(r"\s*-?\d+\s*,\s*-?\d+\s*")


def interpolate(
    run: Folder,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            help='Two items of the data, "3,17", or two molecules, "CCO,CCN"; may be repeated.  '
            "[default: five pairs]"
        ),
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
    """Writes a picture of straight lines in latent space between pairs of data, or their texts.

    Of molecules, it is both.
    """
    from pyro_vae.app import figures, molecules, texts
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.run import Run
    from pyro_vae.program import device_of

    loaded = Run(run)
    vocabulary = loaded.vocabulary
    is_of_molecules = vocabulary is not None and vocabulary.notation is not None
    if pair and vocabulary and is_of_molecules and not all(map(_NUMBERS.fullmatch, pair)):
        program, _ = trained_program(run, seed, device)
        (length,) = loaded.known["x_shape"]
        start, stop = (x.to(device_of(program)) for x in molecules.ends(pair, vocabulary, length))
        labels: Any = (None, None)
    else:
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
    if vocabulary:
        heads = texts.line_heads(steps)
        rows = texts.Writer(program, vocabulary).interpolations(start, stop, labels, steps=steps)
        path = out or run / "interpolation.txt"
        if is_of_molecules:
            molecules.check_out(path)
        texts.show([line for row in rows for line in texts.block(heads, row)], path)
        if is_of_molecules:
            print(molecules.draw_lines(rows, heads, path.with_suffix(".png")))
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
