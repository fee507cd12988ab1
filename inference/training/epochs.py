"""The steps of a training, an epoch at a time, and the record of each."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

from torch import Tensor

from pyro_vae.batches import Batches, num_data
from pyro_vae.inference.estimators import total_of

from .explained import explained
from .finite import check_finite_epoch
from .generators import generators_state, set_generators_state
from .payback import Payback
from .plate_scale import Counts
from .progress import Fit
from .pyro_checks import Checks
from .training_data import kind_of_batch
from .validation import Validation

__all__ = ["Epochs"]


class Epochs:
    """The epochs of a training: their steps and their records.

    Args:
        run: The training, which keeps where it stands.
        train: Its data.
        validation: How it is validated, if it is.
        counts: How many data a loss stands for.
        total: The steps of the training.
        payback: What decides whether compiling the step pays; None leaves the step as it is.
        stop: Set where it is to end after the step under way.
        bar: What is told of each step.
    """

    def __init__(
        self,
        run: Fit,
        train: Batches,
        validation: Validation | None,
        counts: Counts,
        total: int,
        payback: Payback | None,
        stop: threading.Event,
        bar: Any,
    ) -> None:
        self.run, self.train, self.validation, self.counts = run, train, validation, counts
        self.total, self.payback, self.stop, self.bar = total, payback, stop, bar
        self.checks = Checks()

    def steps(self, resumed: Mapping[str, Any] | None) -> bool:
        """Steps through an epoch, or what is left of it; says whether it came to its end."""
        run, at = self.run, self.run.progress
        batches = self._batches(resumed)
        losses: list[Tensor] = []
        for batch in batches:
            losses.append(self._step(batch))
            at.data_in_epoch += num_data(batch)
            at.steps_in_epoch += 1
            self.bar.update()
            if run.svi.steps >= self.total or self.stop.is_set():
                break
        if not at.steps_in_epoch:
            raise ValueError(
                "the data are empty"
                if not run.svi.steps
                else f"the data ended after {run.svi.steps} steps; give data that can be gone "
                "through again, such as a list of batches or a DataLoader, or take fewer steps"
            )
        if run.svi.objective.has_value:
            check_finite_epoch(losses, run.svi.steps)
        at.loss_in_epoch += float(sum(losses))
        return not self.stop.is_set() or run.svi.steps >= self.total

    def record(self) -> bool:
        """Closes an epoch with its record; says whether it is the best so far."""
        run, at = self.run, self.run.progress
        record: dict[str, float] = {"epoch": at.epoch + 1, "step": run.svi.steps}
        if run.svi.objective.has_value:
            record["train_loss"] = at.loss_in_epoch / at.data_in_epoch
        if self.validation is not None:
            first = at.epoch == 0
            with self.checks.on() if first else nullcontext():
                record |= self.validation.record(run.svi.steps)
        record |= run.svi.objective.weights(run.svi.steps)
        at.records.append({**record, "seconds": at.seconds})
        loss = record.get("valid_loss", record.get("train_loss", at.best))
        is_best = loss < at.best or not run.svi.objective.has_value
        at.best = min(loss, at.best)
        at.epoch, at.steps_in_epoch, at.loss_in_epoch, at.data_in_epoch = at.epoch + 1, 0, 0.0, 0
        return is_best

    def _batches(self, resumed: Mapping[str, Any] | None) -> Iterator[Sequence[Any]]:
        """The batches of this epoch that are left."""
        at = self.run.progress
        if resumed is not None and at.steps_in_epoch:
            set_generators_state(resumed.get("rng_of_epoch", resumed["rng"]))
        elif resumed is not None:
            set_generators_state(resumed["rng"])
        self.run.rng_of_epoch = generators_state()
        batches = self.train.once(at.seed + at.epoch)
        next(islice(batches, at.steps_in_epoch, at.steps_in_epoch), None)
        if resumed is not None and at.steps_in_epoch:
            set_generators_state(resumed["rng"])
        return batches

    def _step(self, batch: Sequence[Any]) -> Tensor:
        """Takes a step; returns the loss of as many data as the batch holds."""
        first = self.checks.is_new(batch)
        with (
            self.checks.on() if first else nullcontext(),
            explained(batch) if first else nullcontext(),
        ):
            weight = self.counts.weight(batch)
            if self.validation is not None and not self.run.svi.steps:
                self.validation.look()
            if not first and not self.run.progress.epoch:
                for observed in self.counts.observed:
                    observed.check(batch)
            loss = self._timed_step(batch)
            if first and not self.run.svi.parameters:
                raise ValueError(
                    "the loss depends on no parameter, so there is nothing to train; give model or "
                    "guide an nn.Module, a PyroParam or a pyro.param that is not frozen"
                )
        return weight * total_of(loss).detach()

    def _timed_step(self, batch: Sequence[Any]) -> Any:
        svi, payback = self.run.svi, self.payback
        if payback is None:
            return svi.step(*batch)
        kind = kind_of_batch(batch)
        if payback.is_due(kind):
            svi.compile_next()
        began = time.perf_counter()
        loss = svi.step(*batch)
        payback.note(kind, time.perf_counter() - began, svi.mode, self.total - svi.steps)
        return loss
