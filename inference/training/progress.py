"""Where a training stands, and what it takes to go on from there."""

import math
from collections.abc import Mapping, Sized
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyro_vae.batches import Batches
from pyro_vae.datasets import DataSource
from pyro_vae.inference.estimators import Estimator

from .generators import generators_state
from .svi import SVI

__all__ = ["Fit", "Progress"]


@dataclass
class Progress:
    """Where a training stands: what it takes, with the parameters, to go on from there."""

    seed: int
    batch_size: int | None = None  # of data that are not in batches already
    num_data: int | None = None  # or of batches; None of those that do not know
    epoch: int = 0
    steps_in_epoch: int = 0
    loss_in_epoch: float = 0.0
    data_in_epoch: int = 0
    seconds: float = 0.0
    best: float = math.inf
    records: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def at_first(cls, data: Batches) -> "Progress":
        """The beginning of a training on such data."""
        return cls(
            seed=int(torch.randint(2**31, ())),
            batch_size=data.batch_size if isinstance(data.data, DataSource) else None,
            num_data=len(data.data) if isinstance(data.data, Sized) else None,
        )

    def check_goes_on(self, saved: "Progress") -> None:
        """Refuses to go on from a state on data or batches of other sizes."""
        for name in ("num_data", "batch_size"):
            here, there = getattr(self, name), getattr(saved, name)
            if None not in (here, there) and here != there:
                raise ValueError(
                    f"the training to go on with had {name} {there}, but here it is {here}; go on "
                    "with the same data and batches, or train anew, without resume"
                )


class Fit:
    """A training, under way or done.

    Attributes:
        svi: What takes the steps.
        loss: The estimator or function that is descended.
        progress: Where it stands. Its `records`, one for each epoch, hold in nats per datum the
            train_loss, and of the validation data the valid_loss, with each schedule at its end,
            the rate and the distortion.
        interrupted: Whether Ctrl-C ended it.
    """

    def __init__(self, svi: SVI, progress: Progress, loss: Any) -> None:
        self.svi, self.progress, self.loss, self.interrupted = svi, progress, loss, False
        self.best: dict[str, Tensor] = {}  # the tensors of the best epoch
        self.last: dict[str, Tensor] = {}  # those that were left when these were put back
        self.rng_of_epoch = generators_state()  # where it began, from which its data are drawn

    def __repr__(self) -> str:
        """Its length and time; the bound, or else the loss, of the last and of the best epoch."""
        at, steps = self.progress, self.svi.steps
        said = [_counted(at.epoch, "epoch"), f"{_counted(steps, 'step')} in {at.seconds:.3g} s"]
        last = self.records[-1] if self.records else {}
        if "train_loss" in last:
            said.append(f"{self._value(last['train_loss'])} in the last epoch")
        if "valid_loss" in last:
            said.append(f"at best {self._value(at.best)} on the validation data")
        return f"Fit({', '.join(said)}{', interrupted' if self.interrupted else ''})"

    def _value(self, loss: float) -> str:
        """A loss in nats per datum, as a bound if the loss was one throughout the last epoch."""
        began = self.records[-2]["step"] if len(self.records) > 1 else 0
        if isinstance(self.loss, Estimator) and all(
            self.loss.at(int(step)).is_bound for step in (began, self.records[-1]["step"])
        ):
            return f"bound {-loss:.2f}"
        return f"loss {loss:.2f}"

    @property
    def records(self) -> list[dict[str, float]]:
        """One record for each epoch."""
        return self.progress.records

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `fit(..., resume=...)` goes on, given the same parameters."""
        estimator = self.loss.state_dict() if isinstance(self.loss, Estimator) else {}
        return {
            "progress": asdict(self.progress),
            "svi": self.svi.state_dict(),
            "estimator": {name: tensor.clone() for name, tensor in estimator.items()},
            "best": dict(self.best),
            "last": dict(self.last),
            "rng": generators_state(),
            "rng_of_epoch": self.rng_of_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict`, but for the random generators.

        Raises:
            ValueError: If it is of a training on other data or with another loss.
        """
        if "progress" not in state:
            raise ValueError(
                f"resume holds {sorted(state)}, but must be the state_dict() of what fit returned"
            )
        saved = Progress(**state["progress"])
        self.progress.check_goes_on(saved)
        self.progress = saved
        self.svi.load_state_dict(state["svi"])
        if isinstance(self.loss, Estimator) and state.get("estimator"):
            self.loss.load_state_dict(state["estimator"])
        self.best, self.last = dict(state.get("best", {})), dict(state.get("last", {}))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)
