"""The command `arithmetic`: a picture of data with an attribute added in latent space."""

from typing import Annotated

import typer

from pyro_vae.app.opened import first, in_memory, trained_and_data
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Seed

__all__ = ["arithmetic"]


def arithmetic(
    run: Folder,
    label: Annotated[int, typer.Option(help="The label to move towards.")] = 1,
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="The number of data to move.")] = 8,
    weights: Annotated[
        str, typer.Option(help="How far to move them, in one column each.")
    ] = "-1,0,1,2",
    data: OtherData = None,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes a picture of test data moved, in latent space, towards those that have a label."""
    from pyro_vae.app import figures
    from pyro_vae.app.prepare import labelled

    program, dataset = trained_and_data(run, data, data_dir, seed, device)
    if dataset.vocabulary is not None:
        raise ValueError("arithmetic makes pictures, and the data are texts; interpolate them")
    part, train = in_memory(dataset.test), in_memory(dataset.train)
    if part.y is None or train.y is None or train.y.is_floating_point():
        raise ValueError("the data have no classes, so there is no attribute to add")
    x, y = labelled(program, part)
    if y is not None:
        raise ValueError("the program is model(x, y): sample it with another label instead")
    examples, _ = labelled(program, first(train, 5000))
    try:
        numbers = [float(weight) for weight in weights.split(",")]
    except ValueError:
        raise ValueError(f'--weights takes numbers such as "0,1,2", but got {weights!r}') from None
    lacks = (part.y >= 0) & (part.y != label)  # of -1, a label that is missing, nobody knows
    x = x[lacks.to(x.device)][:num]
    classes = train.y[: len(examples)].to(x.device)
    examples, has = examples[classes >= 0], classes[classes >= 0] == label
    name = f"label {label}"
    figure = figures.arithmetic(program, x, examples, has, weights=numbers, name=name)
    print(figures.save(figure, out or run / "arithmetic.png"))
