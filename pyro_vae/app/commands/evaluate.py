"""The command `evaluate`: the bounds of a trained program, printed and written down."""

from typing import Annotated

import typer

from pyro_vae.app.opened import first, trained
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Part, Seed, Split
from pyro_vae.app.tables import print_table

__all__ = ["evaluate"]


def evaluate(
    run: Folder,
    data: OtherData = None,
    split: Split = Part.test,
    num_particles: Annotated[
        int, typer.Option(min=1, help="Draws of the latents for the log-likelihood of each datum.")
    ] = 5000,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first so many data.")
    ] = None,
    data_dir: DataDir = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Prints the bound, its rate and distortion, and the importance-weighted log-likelihood."""
    from pyro_vae.app.objective import loss_that_is_no_bound
    from pyro_vae.app.results import evaluation
    from pyro_vae.app.run import Run

    program, part = trained(run, data, data_dir, split, seed, device)
    results = evaluation(program, first(part, limit), num_particles=num_particles)
    results |= {"split": split, "data": data or "as trained on", "seed": seed}
    path = Run(run).write_evaluation(results)
    print_table(results, f"{split} data")
    print(path)
    if "bound" in results and (said := loss_that_is_no_bound(Run(run))):
        print(said)
