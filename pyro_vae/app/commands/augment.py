"""The command `augment`: new labelled data, in the layout of those trained on."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_vae.app.opened import in_memory
from pyro_vae.app.options import DataDir, Device, OtherData, Part, Seed, Split

__all__ = ["augment"]


def augment(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="A run of a program model(x, y); or several, each trained on one label alone.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="A file .npz, .pt, .csv or .tsv, or a folder of pictures, to write."),
    ],
    num: Annotated[int, typer.Option("--num", "-n", min=1, help="The number of new data.")] = 1000,
    kind: Annotated[
        str,
        typer.Option(
            help="near: decoded from draws of the posteriors of data; prior; or between two of a "
            "class."
        ),
    ] = "near",
    draw: Annotated[
        bool, typer.Option("--draw", help="Draw x ~ p(x | z), instead of taking its mean.")
    ] = False,
    data: OtherData = None,
    split: Split = Part.train,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes new data with labels, as many of each class, for something else to be trained on.

    Their numbers, and the names of classes and columns, are those of the file of the data.
    """
    from pyro_vae.app.augmentation import counted, opened
    from pyro_vae.app.layouts import check_layout, write_data
    from pyro_vae.inference import augment as augmented

    program, dataset = opened(runs, data, data_dir, split, seed, device)
    check_layout(out, dataset)
    part = in_memory(getattr(dataset, split))
    made = augmented(program, part, num, kind=kind, mean=not draw)
    write_data(out, made, dataset)
    print(counted(made, dataset))
    print(out)
