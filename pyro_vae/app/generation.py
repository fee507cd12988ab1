"""What a trained program makes of latents, which pictures and texts show."""

import math
from typing import Any

import torch
from torch import Tensor

from pyro_vae.arguments import needs_labels, takes_labels
from pyro_vae.inference import decode, encode, reconstruct, traverse
from pyro_vae.inference.evaluation import Traversal, discrete_latents
from pyro_vae.program import Program, device_of

__all__ = ["interpolated", "labels_to_sample", "moved", "reconstructed"]

_ROWS = 500  # of data at a time


def labels_to_sample(
    program: Program, num_samples: int, num_classes: int | None, label: int | None
) -> Tensor | None:
    """The label of each sample, as many of each label: at least so many samples in all.

    Args:
        program: What to sample from.
        num_samples: How many.
        num_classes: The number of labels that a program `model(x, y)` knows.
        label: The one label to sample.

    Returns:
        Labels (N,) on the program's device; None for a program without.

    Raises:
        ValueError: If there is no such label.
    """
    optional = num_classes is None and label is None and not needs_labels(program)
    if optional or not takes_labels(program):
        if label is not None:
            raise ValueError("the program is model(x), so it knows no labels")
        return None
    if num_classes is None:
        raise ValueError(
            "the program's conditions are no classes; take pyro_vae.inference.sample(..., y=...)"
        )
    if label is not None and not 0 <= label < num_classes:
        raise ValueError(f"the labels are 0 to {num_classes - 1}, and {label} is none of them")
    labels = range(num_classes) if label is None else [label]
    each = math.ceil(num_samples / len(labels))
    return torch.tensor(labels, device=device_of(program)).repeat_interleave(each)


def reconstructed(program: Program, x: Tensor, y: Tensor | None = None) -> Tensor:
    """The reconstructions of data (N, *x_shape), a part of them at a time."""
    if y is None:
        return torch.cat([reconstruct(program, part) for part in x.split(_ROWS)])
    parts = zip(x.split(_ROWS), y.split(_ROWS), strict=True)
    return torch.cat([reconstruct(program, *part) for part in parts])


def moved(
    program: Program, x: Tensor, y: Tensor | None = None, *, site: str | None = None, **options: Any
) -> tuple[str, Traversal]:
    """The name of the latent that moves, and what `inference.traverse` makes of it.

    Args:
        program: The program.
        x: Data, (N, *x_shape).
        y: Their labels, for a program `model(x, y)`.
        site: The latent; None if there is one alone.
        options: As of `inference.traverse`.

    Raises:
        ValueError: As `inference.traverse`; if there are several latents and none is named.
    """
    if site is None:
        names = list(encode(program, x[:2], None if y is None else y[:2]))
        if len(names) != 1:
            raise ValueError(f"the latents of the program are {names}; name one of them as site")
        site = names[0]
    return site, traverse(program, x, site, y, **options)


def interpolated(
    program: Program,
    start: Tensor,
    stop: Tensor,
    y: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    *,
    steps: int,
) -> Tensor:
    """Straight lines in latent space from each datum of `start` to its partner in `stop`.

    Labels stay those of `start`.

    Returns:
        What the points on the lines decode to, (N, steps, *x_shape).

    Raises:
        ValueError: If there are no latents to go through, or some between which nothing lies.
    """
    discrete = discrete_latents(program, start, y[0])
    if discrete:
        raise ValueError(
            f"latents {discrete} are discrete, so nothing lies between two of them; look at "
            "samples, or interpolate in a program of continuous latents"
        )
    ends = [encode(program, start, y[0]), encode(program, stop, y[1])]
    if not ends[0]:
        raise ValueError("the guide draws no latents, so there is nothing to interpolate")
    rows = []
    for weight in torch.linspace(0, 1, steps).tolist():
        between = {name: torch.lerp(ends[0][name], ends[1][name], weight) for name in ends[0]}
        rows.append(
            decode(program, between, len(start), start.shape[1:], y=y[0], dtype=start.dtype).cpu()
        )
    return torch.stack(rows, dim=1)
