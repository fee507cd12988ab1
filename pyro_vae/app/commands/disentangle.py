"""The command `disentangle`: whether single numbers of a latent stand for factors of the data."""

from typing import Annotated

import typer

from pyro_vae.app.opened import first, trained_and_data
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Part, Seed, Split
from pyro_vae.app.tables import print_rows

__all__ = ["disentangle"]

_JUDGED = 500  # data by whose rates the rows of the traversals are ordered
_ROWS = 10


def disentangle(
    run: Folder,
    site: Annotated[
        str | None, typer.Option(help="The latent, such as z_2.  [default: the only one]")
    ] = None,
    num_data: Annotated[
        int, typer.Option("--num-data", min=2, help="The data to take, at random.")
    ] = 15_000,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Scores codes by the factors of the data, which must be known, as those of sprites.

    Prints MIG, DCI, SAP and others; writes disentanglement.json, the matrix of mutual information
    and traversals of the numbers that are not dead into the run folder.
    """
    from pyro_vae.app import figures
    from pyro_vae.app.disentanglement import judge
    from pyro_vae.app.prepare import labelled
    from pyro_vae.app.writing import write_json

    program, dataset = trained_and_data(run, data, data_dir, seed, device)
    part = getattr(dataset, split)
    found = judge(program, dataset, part, site=site, num_data=num_data, seed=seed)
    title = f"{len(found.codes.values):,} {split} data"
    print_rows((title, "of 1", "says"), found.rows)
    print(found.sentence)
    path = run / "disentanglement.json"
    write_json(path, found.as_json() | {"split": split, "data": data or "as trained on"})
    print(path)
    print(figures.save(found.picture(), run / "information.png"))
    x, y = labelled(program, first(part, _JUDGED))
    num = min(max(found.num_live, 1), _ROWS)
    moved = figures.traversal(program, x, y, site=found.codes.site, num=num)
    print(figures.save(moved, run / "traversal.png"))
