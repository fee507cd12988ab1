"""What all figures share: colours, markers, width."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import matplotlib
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["COLORS", "MARKERS", "WIDTH", "Array", "Lines", "to_numpy"]

Array: TypeAlias = NDArray[Any]
Lines: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]

COLORS = matplotlib.color_sequences["petroff10"]  # told apart by the colour-blind too
MARKERS = "os^Dv<>PX*"
WIDTH = 5.0  # inches: the labels can still be read at half a page's width


def to_numpy(x: Tensor) -> Array:
    """The values as an array on the CPU, without gradient."""
    return x.detach().float().cpu().numpy()
