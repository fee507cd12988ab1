"""What a file of data measures in and calls its columns, to write further data as it does."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Origin"]


@dataclass(frozen=True, eq=False)
class Origin:
    """How the numbers of a file became data: divided by `scale`, less `mean`, by `deviation`.

    Args:
        scale: What divided them.
        whole: Whether they were whole numbers from 0 to `scale`, as grey levels are.
        mean: What was then taken off, broadcastable to x; None if nothing was.
        deviation: What then divided them, likewise.
        columns: What the columns of a table are called.
        label_column: What its column of labels is called.
    """

    scale: float = 1
    whole: bool = False
    mean: Tensor | None = None
    deviation: Tensor | None = None
    columns: tuple[str, ...] = ()
    label_column: str = "y"

    def restored(self, x: Tensor) -> Tensor:
        """Data (N, *x_shape) in the numbers of the file."""
        x = x.detach().double().cpu()
        if self.mean is not None and self.deviation is not None:
            x = x * self.deviation + self.mean
        x = x * self.scale
        return x.round().clamp(0, self.scale) if self.whole else x.to(torch.float32)
