"""How complex a datum is without any program: what a compressor needs for it, and its edges."""

import math
import zlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from pyro_vae.batches import Data
from pyro_vae.inference.evaluation import each_once
from pyro_vae.program import Program

__all__ = ["compressed_size", "total_variation"]


def compressed_size(program: Program, x: Data, y: Tensor | None, *, batch_size: int) -> Tensor:
    """The length of each datum as zlib writes it, in nats, (N,).

    Zeros and ones are taken as bits, other floating numbers as 256 grey levels, and whole numbers
    as they are. Missing entries count as 0.

    Args:
        program: What the data are for.
        x: Data, as of `anomaly_scores`.
        y: Their labels, likewise.
        batch_size: Data that are read at once.

    Raises:
        ValueError: If floating numbers are not all from 0 to 1.
    """
    found = _read(program, x, y, batch_size).flatten(1)
    sizes = [len(zlib.compress(row.tobytes(), 9)) for row in _bytes(found)]
    return torch.tensor(sizes, dtype=torch.float64) * 8 * math.log(2)


def total_variation(program: Program, x: Data, y: Tensor | None, *, batch_size: int) -> Tensor:
    """The sum of the differences between neighbours of each image, the length of its edges, (N,).

    Neighbours are one beside or above the other. Missing entries have no difference.

    Args:
        program: What the data are for.
        x: Images (C, H, W), as of `anomaly_scores`.
        y: Their labels, likewise.
        batch_size: Data that are read at once.

    Raises:
        ValueError: If the data are no images.
    """
    found = _read(program, x, y, batch_size)
    if found.dim() != 4:
        raise ValueError(
            f"variation counts the edges of images (channels, height, width), but the data are of "
            f"shape {tuple(found.shape[1:])}; take another kind of score"
        )
    steps = (found.double().diff(dim=dim).nan_to_num().abs().sum((1, 2, 3)) for dim in (2, 3))
    return sum(steps, start=torch.zeros(len(found), dtype=torch.float64))


def _read(program: Program, x: Data, y: Tensor | None, batch_size: int) -> Tensor:
    """All data as one tensor, (N, *x_shape)."""
    batches = each_once(program, x, y, batch_size)
    place = batches.names.index("x")
    found = [batch[place].cpu() for batch in batches.once()]
    if batches.rows is None:
        return torch.cat(found)
    width = max(part.shape[1] for part in found)  # of sequences, which come by length
    whole = torch.cat([pad(part, (0, width - part.shape[1]), value=-1) for part in found])
    return whole[batches.rows.cpu()]


def _bytes(x: Tensor) -> NDArray[Any]:
    if not x.is_floating_point():
        return x.to(torch.int32).numpy()
    x = x.nan_to_num()
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            "complexity compresses bits, grey levels from 0 to 1 or whole numbers, but the data "
            f"are real numbers from {x.min():g} to {x.max():g}; take another kind of score"
        )
    if ((x == 0) | (x == 1)).all():
        return np.packbits(x.numpy().astype(np.uint8), axis=1)
    return (x * 255).round().numpy().astype(np.uint8)
