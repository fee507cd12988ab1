"""Where a training stands, and what it takes to go on from there."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from .svi import SVI

__all__ = ["Fit", "Progress"]


@dataclass
class Progress:
    """Where a training stands: what it takes, with the parameters, to go on from there."""

    seed: int
    epoch: int = 0
    steps_in_epoch: int = 0
    loss_in_epoch: float = 0.0
    data_in_epoch: int = 0
    seconds: float = 0.0
    best: float = math.inf
    records: list[dict[str, float]] = field(default_factory=list)


class Fit:
    """A training, under way or done.

    Attributes:
        svi: What takes the steps.
        progress: Where it stands. Its `records`, one for each epoch, hold in nats per datum the
            train_loss, and of the validation data the valid_loss, with each schedule at its end,
            the rate and the distortion.
        interrupted: Whether Ctrl-C ended it.
    """

    def __init__(self, svi: SVI, progress: Progress) -> None:
        self.svi, self.progress, self.interrupted = svi, progress, False

    @property
    def records(self) -> list[dict[str, float]]:
        """One record for each epoch."""
        return self.progress.records

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `fit(..., resume=...)` goes on, given the same parameters."""
        rng = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            rng["cuda"] = torch.cuda.get_rng_state()
        return {"progress": asdict(self.progress), "svi": self.svi.state_dict(), "rng": rng}
