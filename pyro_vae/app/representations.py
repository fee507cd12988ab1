"""What the command `encode` writes and tells of latents: a file, probes and a map."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae import plots
from pyro_vae.inference import linear_probe, mean_and_error, nearest_neighbours, projected
from pyro_vae.inference.applications import latents
from pyro_vae.program import Program

from . import figures
from .prepare import labelled
from .writing import write_whole

__all__ = ["draw_map", "probes", "write_latents"]

_MOST_TRAINED = 10_000  # data that a probe learns from: of 784 pixels it then takes a minute
_MOST_MAPPED = 2_000


def write_latents(program: Program, part: Any, path: Path) -> tuple[Path, dict[str, Tensor]]:
    """Writes the latents of data by their names, labels as y, and rows as ids.

    Returns:
        The path, and the latents, (N, ...).
    """
    z = latents(program, *labelled(program, part))
    arrays: dict[str, Any] = {name: value.numpy() for name, value in z.items()}
    if part.y is not None:
        arrays["y"] = part.y.cpu().numpy()
    content = io.BytesIO()
    np.savez_compressed(content, **arrays, ids=np.arange(len(part.x)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content.getvalue())
    return path, z


def probes(
    program: Program, train: Any, test: Any, z_test: Mapping[str, Tensor]
) -> list[tuple[str, ...]]:
    """The accuracies of both probes on latents, and beside them on the data themselves.

    Args:
        program: The trained program.
        train: The data to learn from.
        test: The data to be judged by.
        z_test: Their latents.

    Raises:
        ValueError: If there are no classes, or as `linear_probe`.
    """
    for part in (train, test):
        if part.y is None or part.y.is_floating_point():
            found = "no labels" if part.y is None else "conditions for labels"
            raise ValueError(
                f"--probe tells classes by their latents, but the data have {found}; leave it out, "
                "or give --data with classes"
            )
    rows = torch.randperm(len(train.x), generator=torch.Generator().manual_seed(0))
    rows = (rows[:_MOST_TRAINED]).to(train.x.device)
    x, y = labelled(program, train)
    x, given = x[rows.to(x.device)], None if y is None else y[rows.to(x.device)]
    z_train, y_train = latents(program, x, given), train.y[rows]
    pairs = (
        (_joined(z_train), _joined(z_test)),
        (x.cpu().float(), labelled(program, test)[0].cpu().float()),
    )
    return [
        (name, *(_accuracy(probe(a, y_train, b, test.y)) for a, b in pairs))
        for name, probe in (
            ("logistic regression", linear_probe),
            ("5 nearest neighbours", nearest_neighbours),
        )
    ]


def draw_map(x: Tensor, y: Tensor | None, z: Mapping[str, Tensor], kind: str, path: Path) -> Path:
    """Draws where the latents of data lie in two dimensions, with pictures of the data."""
    some = slice(_MOST_MAPPED)
    points = projected(_joined(z)[some], kind=kind)
    x, y = x[some].cpu(), None if y is None else y[some].cpu()
    title = f"{', '.join(z)} of {len(points):,} data, by {kind}"
    figure = plots.picture_map(points, x, y, levels=figures.levels(x), title=title)
    return figures.save(figure, path)


def _joined(z: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([value.flatten(1).float() for value in z.values()], 1)


def _accuracy(right: Tensor) -> str:
    mean, error = mean_and_error(right)
    return f"{mean:.4f} ± {error:.4f}"
