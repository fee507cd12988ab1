"""What a page shows of a program of texts: those that it writes on a grid of a plane of latents.

Their decoders draw token by token, which a page does not do; so they are run when it is made.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_vae.app.texts import Writer
from pyro_vae.datasets import Vocabulary
from pyro_vae.inference import decode
from pyro_vae.inference.applications import latents as latents_of_data

from .numbers import stored
from .opened import OpenedRun

__all__ = ["text_program"]

_STEPS = 17  # of the grid, on each side
_SHOWN = 12  # texts of the data that are in the plane, or nearest to it
_MARGIN = 0.25  # of the way from the first text to the two others, beyond them


def text_program(run: OpenedRun, vocabulary: Vocabulary) -> dict[str, Any]:
    """The program as a page shows it: a plane of two numbers, and the texts written on it.

    Of a latent of two numbers it is the latent itself. Of more it is the plane through three data,
    whose numbers are the shares of the ways from the first to the second and the third.

    Raises:
        ValueError: If latents are no numbers.
    """
    writer, found = Writer(run.program, vocabulary), latents_of_data(run.program, *run.args)
    if any(not z.is_floating_point() for z in found.values()):
        raise ValueError(
            f"the latents of {run.run.folder} are codes, so there is no plane of texts to show; "
            "look at pyro-vae sample"
        )
    z = torch.cat([value.flatten(1) for value in found.values()], 1)
    is_plane = z.shape[1] == 2
    shown = range(min(_SHOWN, len(z))) if is_plane else range(3)
    if is_plane:
        frame, means = torch.eye(2), z
        origin, reach = torch.zeros(2), float(z.abs().quantile(0.995)) * 1.1
        low, high = -reach, reach
    else:
        origin, frame = z[0], z[1:3] - z[0]
        means = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        low, high = -_MARGIN, 1 + _MARGIN
    middle, half = (low + high) / 2, (high - low) / 2
    steps = torch.linspace(low, high, _STEPS)
    points = torch.cartesian_prod(steps, steps).flip(1)  # row by row, from the lowest
    texts = _written(run, writer, found, origin + points @ frame)
    name = next(iter(found)) if is_plane else "way"
    return {
        "kind": "text",
        "levels": [0, 1],
        "latents": [
            {
                "name": name,
                "shape": [2],
                "below": False,
                "keeps": False,
                "rates": None,
                "reach": [high, high],
                "origin": [0.0, 0.0] if is_plane else [0.5, 0.5],
            }
        ],
        "choice": None,
        "means": stored(means),
        "draws": stored(low + (high - low) * torch.rand(256, 2)),
        "functions": {},
        "view": {"centre": [middle, middle], "half": half},
        "words": _words(is_plane),
        "texts": {"low": [low, low], "high": [high, high], "count": _STEPS, "written": texts},
        "data_texts": writer.texts(run.x[: len(shown)].long().cpu()),
    }


def _words(is_plane: bool) -> str:
    """What the plane is, in a line."""
    where = "" if is_plane else " Across leads from datum 0 to datum 1, and up to datum 2."
    return f"Written when this page was made, at {_STEPS} by {_STEPS} points.{where}"


def _written(run: OpenedRun, writer: Writer, found: Mapping[str, Tensor], z: Tensor) -> list[str]:
    """The text at each point, of all latents joined, (N, D)."""
    sizes = [math.prod(value.shape[1:]) for value in found.values()]
    parts = {
        name: part.reshape(len(z), *value.shape[1:])
        for (name, value), part in zip(found.items(), z.split(sizes, 1), strict=True)
    }
    y = None if run.y is None else run.y[:1].expand(len(z), *run.y.shape[1:])
    x = decode(run.program, parts, len(z), run.x.shape[1:], y=y, dtype=run.x.dtype)
    return writer.texts(x.long().cpu())
