"""What the commands that look at a run share: its trained program, and data for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .options import Part

if TYPE_CHECKING:
    from pyro_vae.datasets import Dataset, DataSource, Split
    from pyro_vae.program import ProgramModule

    from .run import Run

__all__ = ["first", "in_memory", "trained", "trained_and_data", "trained_program"]


def trained_program(run: Path, seed: int, device: str) -> "tuple[ProgramModule, Run]":
    """The trained program of a run folder, on a device, with a seed set."""
    import pyro

    from .prepare import find_device
    from .run import Run

    loaded = Run(run)
    program = loaded.load().to(find_device(device))
    pyro.set_rng_seed(seed)
    return program, loaded


def trained(
    run: Path, data: str | None, data_dir: str | None, split: Part, seed: int, device: str
) -> "tuple[ProgramModule, Split | DataSource]":
    """The trained program, and a part of its data or of others."""
    program, dataset = trained_and_data(run, data, data_dir, seed, device)
    return program, getattr(dataset, split)


def trained_and_data(
    run: Path, data: str | None, data_dir: str | None, seed: int, device: str
) -> "tuple[ProgramModule, Dataset]":
    """The trained program, and its data or others, which are checked to fit it."""
    from .prepare import known_from, preflight
    from .texts import check_vocabulary

    program, loaded = trained_program(run, seed, device)
    dataset: Dataset = loaded.data(data, data_dir)
    if data is not None:
        print(dataset.description)
    check_vocabulary(loaded, dataset)
    x_shape = loaded.known["x_shape"]
    if dataset.x_shape != x_shape:
        raise ValueError(f"data of shape {dataset.x_shape} do not fit {run}, trained on {x_shape}")
    if data is not None:
        preflight(program, dataset, loaded.loss(known_from(dataset)), 128)
    return program, dataset


def first(part: "Split | DataSource", num: int | None) -> "Split | DataSource":
    """The first so many data, or all."""
    from pyro_vae.batches import first

    return part if num is None else first(part, num)


def in_memory(part: "Split | DataSource") -> Any:
    """A part as a `Split`, for a picture: of what is not in memory the first 5,000 data."""
    from pyro_vae.datasets import Split

    if isinstance(part, Split):
        return part
    batch = next(part.batches(5000))
    return Split(batch["x"], batch.get("y"))
