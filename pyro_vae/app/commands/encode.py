"""The command `encode`: the latents of data, in a file, as features and as a map."""

from typing import Annotated

import typer

from pyro_vae.app.opened import first, in_memory, trained_and_data
from pyro_vae.app.options import DataDir, Device, Folder, OtherData, Out, Part, Seed, Split
from pyro_vae.app.tables import print_rows

__all__ = ["encode"]


def encode(
    run: Folder,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Print how well latents tell classes, and beside it the data themselves.",
        ),
    ] = False,
    map: Annotated[
        str | None, typer.Option(help="Draw where the latents lie: pca, tsne or umap.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first so many data.")
    ] = None,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Writes the latents of data, their labels y and their rows ids into latents.npz, or --out.

    A latent is the mean of the guide's distribution. A map goes to map.png beside that file.
    """
    from pyro_vae.app import representations
    from pyro_vae.app.prepare import labelled

    program, dataset = trained_and_data(run, data, data_dir, seed, device)
    part = in_memory(first(getattr(dataset, split), limit))
    path, z = representations.write_latents(program, part, out or run / "latents.npz")
    print(path)
    if probe:
        train = in_memory(first(dataset.train, limit))
        header = (f"accuracy on {split} data", "by latents", "by the data")
        print_rows(header, representations.probes(program, train, part, z))
    if map is not None:
        x, _ = labelled(program, part)
        print(representations.draw_map(x, part.y, z, map, path.with_name("map.png")))
