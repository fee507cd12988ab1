"""A training as `fit` returns it, with its records, and how far it has come."""

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
from .guide_steps import GuideSteps
from .svi import SVI

__all__ = ["Fit", "Progress"]


@dataclass
class Progress:
    """How far a training has come: with the parameters, what is needed to go on with it."""

    seed: int  # the order of the data in epoch i, from 0 on, is that of seed + i
    batch_size: int | None = None  # None where the user gives batches
    num_data: int | None = None  # or the number of these batches; None if they do not know it
    epoch: int = 0
    steps_in_epoch: int = 0
    loss_in_epoch: float = 0.0
    data_in_epoch: int = 0
    seconds: float = 0.0
    best: float = math.inf
    records: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def at_first(cls, data: Batches) -> "Progress":
        """The progress of a training on such data that has not begun yet."""
        return cls(
            seed=int(torch.randint(2**31, ())),
            batch_size=data.batch_size if isinstance(data.data, DataSource) else None,
            num_data=len(data.data) if isinstance(data.data, Sized) else None,
        )

    def check_goes_on(self, saved: "Progress") -> None:
        """Refuses to go on from the progress of a training on data or batches of other sizes."""
        for name in ("num_data", "batch_size"):
            here, there = getattr(self, name), getattr(saved, name)
            if None not in (here, there) and here != there:
                raise ValueError(
                    f"the training to go on with had {name} {there}, but here it is {here}; go on "
                    "with the same data and batches, or train anew, without resume"
                )


class Fit:
    """A training, under way or at its end.

    Attributes:
        svi: The `SVI` that takes the steps.
        loss: The estimator or function that is minimized.
        progress: How far it has come.
        records: A dictionary for each epoch: its number ("epoch"), the steps so far ("step"), the
            mean loss of its steps ("train_loss"), the value of each schedule, the seconds so far
            ("seconds"); and, of the validation data, their loss with all schedules at their end
            ("valid_loss"), "rate" and "distortion"; and the program's bound ("valid_bound") beside
            a loss, such as that of `VAEGAN`, that is none. Of two latent sites or more, the rate of
            each ("rate of z_1"): of the validation data, or of the epoch's last batch where there
            are none. Losses and rates are in nats per datum. With `guide_steps`, how many steps
            the guide alone has taken so far ("guide_steps"), and with `Aggressive`, while it
            lasts, the "mutual_information" by which it ends, in nats.
        interrupted: Whether Ctrl-C ended it.
    """

    def __init__(
        self, svi: SVI, progress: Progress, loss: Any, guide_steps: GuideSteps | None = None
    ) -> None:
        self.svi, self.progress, self.loss, self.interrupted = svi, progress, loss, False
        self.guide_steps = guide_steps  # those before each step of the model, if there are any
        self.best: dict[str, Tensor] = {}  # parameters and buffers of the best epoch
        self.last: dict[str, Tensor] = {}  # those of the last step, once the best were put back
        self.has_bounds = True  # not where the guide is a point, or training factors count
        self.rng_of_epoch = generators_state()  # of the generators when the epoch began

    def __repr__(self) -> str:
        """Its epochs, steps and seconds, and the bound, or else the loss, that it has reached."""
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
        known = self.has_bounds and isinstance(self.loss, Estimator)
        if known and all(
            self.loss.at(int(step)).is_bound for step in (began, self.records[-1]["step"])
        ):
            return f"bound {-loss:.2f}"
        return f"loss {loss:.2f}"

    @property
    def records(self) -> list[dict[str, float]]:
        """The record of each epoch; see the class."""
        return self.progress.records

    def state_dict(self) -> dict[str, Any]:
        """All that `fit(..., resume=...)` needs to go on, but for the program's parameters."""
        estimator = self.loss.state_dict() if isinstance(self.loss, Estimator) else {}
        guide = {} if self.guide_steps is None else {"guide": self.guide_steps.state_dict()}
        return guide | {
            "progress": asdict(self.progress),
            "svi": self.svi.state_dict(),
            "estimator": {name: tensor.clone() for name, tensor in estimator.items()},
            "best": dict(self.best),
            "last": dict(self.last),
            "rng": generators_state(),
            "rng_of_epoch": self.rng_of_epoch,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over the `state_dict` of another training, but for the random generators.

        Raises:
            ValueError: If that one was on other data or with another loss.
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
        if self.guide_steps is not None and "guide" in state:
            self.guide_steps.load_state_dict(state["guide"])
        self.best, self.last = dict(state.get("best", {})), dict(state.get("last", {}))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)
