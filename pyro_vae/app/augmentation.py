"""What the command `augment` opens: one program of all classes, or one for each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pyro_vae.datasets import Dataset, Split
from pyro_vae.program import Program

from .opened import in_memory, trained_and_data

__all__ = ["counted", "opened"]


def opened(
    runs: Sequence[Path],
    data: str | None,
    data_dir: str | None,
    split: str,
    seed: int,
    device: str,
) -> tuple[Program | Mapping[int, Program], Dataset]:
    """The program of a run and its data; of several runs, the programs by label and all data.

    Raises:
        ValueError: If one of several runs was not trained on one label alone, or two on one.
    """
    if len(runs) == 1:
        return trained_and_data(runs[0], data, data_dir, seed, device)
    programs: dict[int, Program] = {}
    datasets = []
    for run in runs:
        program, dataset = trained_and_data(run, None, data_dir, seed, device)
        part = in_memory(getattr(dataset, split))
        labels = [] if part.y is None else part.y.unique().tolist()
        if len(labels) != 1 or labels[0] in programs:
            found = ", ".join(map(dataset.label_name, labels)) or "none"
            raise ValueError(
                f"of several runs each is of one label of its own, but {run} has labels {found}; "
                "train each on only_labels(...) of another"
            )
        programs[labels[0]] = program
        datasets.append(dataset)
    first = datasets[0]
    if data is not None:
        return programs, trained_and_data(runs[0], data, data_dir, seed, device)[1]
    if any(dataset.x_shape != first.x_shape for dataset in datasets):
        raise ValueError("the runs were trained on data of several shapes; give runs of one")
    parts = [in_memory(getattr(dataset, split)) for dataset in datasets]
    whole = replace(parts[0], x=torch.cat([p.x for p in parts]), y=torch.cat([p.y for p in parts]))
    return programs, replace(first, **{split: whole})


def counted(made: Split, dataset: Dataset) -> str:
    """How many data there are, and how many of each class, in words."""
    labels = [] if made.y is None else made.y.tolist()
    each = [f"{labels.count(y)} of {dataset.label_name(y)}" for y in sorted({*labels})]
    return f"{len(made):,} data: {', '.join(each)}"
