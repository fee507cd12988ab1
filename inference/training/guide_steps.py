"""Steps of the guide alone before each step of the model, against posterior collapse.

Early in training a guide lags behind its model: q(z | x) is far from p(z | x), so that the model
learns to do without z, and the guide goes to the prior. He et al. (2019,
https://arxiv.org/abs/1901.05534) let it catch up before each step of the model.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from pyro_vae.batches import Batches
from pyro_vae.checks import check_sizes
from pyro_vae.inference.evaluation import mutual_information_in
from pyro_vae.program import evaluating

from .generators import generators_state, set_generators_state
from .validation import Validation

__all__ = ["Aggressive", "GuideSteps", "check_guide_steps"]

_SEEDS_APART = 2**31  # of the orders of these batches from those of the model's: seeds are below


@dataclass(frozen=True)
class Aggressive:
    """How `fit` trains a guide aggressively: until it no longer gains, before each model step.

    Steps of the guide alone, on fresh batches, go on while the mean loss of the last `check_every`
    is below that of those before; then the model alone takes a step. Once the mutual information
    I_q(x; z) of the validation data is lower after an epoch than after the one before, all
    parameters are trained together, as usual, to the end.

    Args:
        max_steps: The most steps of the guide before one of the model.
        check_every: The steps of which the mean losses are compared.

    Reference:
        He et al., 2019, https://arxiv.org/abs/1901.05534, algorithm 1; the defaults are its code's

    Example:
        >>> vae, x = VAE((1, 8, 8), latent_dim=2), torch.zeros(64, 1, 8, 8)
        >>> few = Aggressive(max_steps=4, check_every=2)
        >>> fit(vae, x, valid=x, steps=1, guide_steps=few, progress=False).svi.steps
        1
    """

    max_steps: int = 100
    check_every: int = 15

    def __post_init__(self) -> None:
        check_sizes(max_steps=self.max_steps, check_every=self.check_every)


def check_guide_steps(guide_steps: Any, *, has_valid: bool) -> None:
    """Refuses what is neither a number of steps nor an `Aggressive`.

    Args:
        guide_steps: As `fit` gets it.
        has_valid: Whether there are validation data, by which an `Aggressive` ends.

    Raises:
        TypeError: If it is neither.
        ValueError: If it is a number below 1, or an `Aggressive` without validation data.
    """
    if isinstance(guide_steps, Aggressive):
        if not has_valid:
            raise ValueError(
                "Aggressive ends by the mutual information of validation data, of which there are "
                "none; give valid, or a number of guide_steps"
            )
    elif not isinstance(guide_steps, Integral) or isinstance(guide_steps, bool):
        raise TypeError(
            f"guide_steps is {guide_steps!r:.80}, but must be a number of steps of the guide "
            "before each of the model, such as 5, or Aggressive()"
        )
    elif guide_steps < 1:
        raise ValueError(f"guide_steps must be at least 1, but is {guide_steps}; or leave it out")


class GuideSteps:
    """Takes the steps of the guide alone, on batches of passes over the training data of its own.

    Args:
        steps: How many before each step of the model.
        train: The data to train on.

    Attributes:
        active: Whether guide and model take turns still, and are not trained together.
        taken: The steps so far.
    """

    def __init__(self, steps: int | Aggressive, train: Batches) -> None:
        self.steps, self.train = steps, train
        self.active, self.taken = True, 0
        self._information = -math.inf
        self._passes, self._in_pass = 0, 0  # begun; batches taken of the last
        self._rng_of_pass = generators_state()
        self._batches: Iterator[Sequence[Any]] | None = None

    def check(self, validation: Validation | None) -> None:
        """Refuses, before the first step, a program that an `Aggressive` would never end for.

        Raises:
            ValueError: If no latent of it has a mutual information.
        """
        if isinstance(self.steps, Aggressive) and not self.taken and validation is not None:
            _mutual_information(validation)

    def take(self, step: Callable[[Sequence[Any]], Tensor], seed: int) -> None:
        """Takes those before a step of the model.

        Args:
            step: Takes one on a batch; returns its loss, summed over the data.
            seed: That of the order of the model's first epoch.
        """
        if not isinstance(self.steps, Aggressive):
            for _ in range(self.steps):
                self._step(step, seed)
            return
        before, left = math.inf, self.steps.max_steps
        while left:
            size = min(self.steps.check_every, left)
            losses, numbers = zip(*(self._step(step, seed) for _ in range(size)), strict=True)
            # of a token, as batches of sequences are of different lengths
            mean = float(torch.stack(losses).sum() / torch.stack(numbers).sum())
            if mean >= before:
                return
            before, left = mean, left - size

    def look(self, validation: Validation | None) -> dict[str, float]:
        """What to record of an epoch that has ended, after which guide and model may join.

        Args:
            validation: Judges the validation data.
        """
        record = {"guide_steps": float(self.taken)}
        if not self.active or validation is None or not isinstance(self.steps, Aggressive):
            return record
        found = _mutual_information(validation)
        self.active = found >= self._information
        self._information = found
        return {**record, "mutual_information": found}

    def state_dict(self) -> dict[str, Any]:
        """How far the steps have come."""
        return {
            "active": self.active,
            "taken": self.taken,
            "information": self._information,
            "passes": self._passes,
            "in_pass": self._in_pass,
            "rng_of_pass": self._rng_of_pass,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        self.active, self.taken = state["active"], state["taken"]
        self._information = state["information"]
        self._passes, self._in_pass = state["passes"], state["in_pass"]
        self._rng_of_pass = state["rng_of_pass"]

    def _step(self, step: Callable[[Sequence[Any]], Tensor], seed: int) -> tuple[Tensor, Tensor]:
        """Takes a step; returns its loss, and how many numbers its data hold."""
        batch = self._next(seed)
        self.taken += 1
        return step(batch), _numbers(batch)

    def _next(self, seed: int) -> Sequence[Any]:
        """A fresh batch, of a new pass where one has ended."""
        if self._batches is None and self._passes:
            self._batches = self._pass_again(seed)
        batch = None if self._batches is None else next(self._batches, None)
        if batch is None:
            self._rng_of_pass = generators_state()
            self._passes, self._in_pass = self._passes + 1, 0
            self._batches = self._pass(seed)
            batch = next(self._batches, None)
        if batch is None:
            raise ValueError(
                "the data ended before guide_steps had a batch; give data that can be gone through "
                "again, such as a list of batches or a DataLoader"
            )
        self._in_pass += 1
        return batch

    def _pass(self, seed: int) -> Iterator[Sequence[Any]]:
        return iter(self.train.once(seed + _SEEDS_APART + self._passes))

    def _pass_again(self, seed: int) -> Iterator[Sequence[Any]]:
        """The pass that was under way when the training stopped, less what was taken of it."""
        now = generators_state()
        set_generators_state(self._rng_of_pass)
        batches = self._pass(seed)
        next(islice(batches, self._in_pass, self._in_pass), None)
        set_generators_state(now)
        return batches


def _numbers(batch: Sequence[Any]) -> Tensor:
    """How many numbers the first tensor of a batch holds, without what is missing: NaN and -1."""
    x = next(part for part in batch if isinstance(part, Tensor) and part.dim())
    missing = x.isnan() if x.is_floating_point() else x == -1
    return (~missing).sum()


def _mutual_information(validation: Validation) -> float:
    """I_q(x; z) of the validation data, summed over the latents that have one.

    The random numbers of a training do not depend on it.

    Raises:
        ValueError: If no latent has one.
    """
    with evaluating(validation.program), torch.random.fork_rng():
        found = mutual_information_in(validation.program, validation.data, validation.num_data)
    if not found:
        raise ValueError(
            "Aggressive ends by the mutual information of data and a latent that the guide draws "
            "from the data alone, and this program has none; give a number, such as guide_steps=10"
        )
    return sum(information.mutual_information for information in found.values())
