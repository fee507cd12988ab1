"""The steps of a training, an epoch at a time, and the record of each."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from pyro_vae.batches import Batches, num_data
from pyro_vae.inference.estimators import total_of

from .batch_statistics import BatchStatistics
from .explained import explained
from .finite import check_finite_epoch
from .generators import generators_state, set_generators_state
from .payback import Payback
from .plate_scale import Counts
from .progress import Fit
from .pyro_checks import Checks
from .site_rates import rates_of_training
from .together import Together
from .training_data import kind_of_batch
from .validation import Validation

__all__ = ["Epochs"]


class Epochs:
    """Takes the steps of a training, an epoch at a time, and writes the record of each epoch.

    Args:
        training: The training, which holds its progress.
        train: The data to train on.
        validation: Judges the validation data after an epoch; None if there are none.
        valid_every: The epochs from one such judgement to the next.
        counts: Tells how many data the loss of a batch stands for.
        total: The number of steps at which the training ends.
        payback: Decides whether to compile the step; None leaves the step as it is.
        stop: When it is set, the training ends after the step under way.
        bar: The progress bar.
        statistics: Recomputes the batch statistics before an epoch is judged; None leaves them.
    """

    def __init__(
        self,
        training: Fit,
        train: Batches,
        validation: Validation | None,
        valid_every: int,
        counts: Counts,
        total: int,
        payback: Payback | None,
        stop: threading.Event,
        bar: Any,
        statistics: BatchStatistics | None = None,
    ) -> None:
        self.training, self.train, self.statistics = training, train, statistics
        self.validation, self.valid_every, self.counts = validation, valid_every, counts
        self._has_validated = self._has_looked = False
        self.total, self.payback, self.stop, self.bar = total, payback, stop, bar
        self.checks, self.together = Checks(), Together(training.svi, total)
        self.last_batch: Sequence[Any] = ()

    def steps(self, resumed: Mapping[str, Any] | None) -> bool:
        """Takes the steps of an epoch, or those that are left of it.

        Args:
            resumed: The state of the training that goes on here; None in all later epochs.

        Returns:
            Whether the epoch came to its end, or the training to its last step.
        """
        training, at = self.training, self.training.progress
        losses: list[Tensor] = []
        for batches in self.together.lists(self._batches(resumed)):
            losses += self._steps(batches)
            self.last_batch = batches[-1]
            at.data_in_epoch += sum(map(num_data, batches))
            at.steps_in_epoch += len(batches)
            self.bar.update(len(batches))
            if training.svi.steps >= self.total or self.stop.is_set():
                break
        if not at.steps_in_epoch:
            raise ValueError(
                "the data are empty"
                if not training.svi.steps
                else f"the data ended after {training.svi.steps} steps; give data that can be gone "
                "through again, such as a list of batches or a DataLoader, or take fewer steps"
            )
        if training.svi.objective.has_value:
            check_finite_epoch(losses, training.svi.steps)
        at.loss_in_epoch += float(sum(losses))
        return not self.stop.is_set() or training.svi.steps >= self.total

    def record(self) -> bool:
        """Writes the record of the epoch that has ended, and begins the next.

        Returns:
            Whether its loss is the lowest so far: that of the validation data, if there are any,
            and never after an epoch without a look at them. Always where epochs are not to be
            compared by it: the last is the best one then.
        """
        training, at = self.training, self.training.progress
        record: dict[str, float] = {"epoch": at.epoch + 1, "step": training.svi.steps}
        if training.svi.objective.has_value:
            record["train_loss"] = at.loss_in_epoch / at.data_in_epoch
        if self.statistics is not None and self._looks:
            self.statistics.recompute(at.seed, at.steps_in_epoch)
        record |= self._of_validation_data()
        if self.validation is None and self.counts.num_latents > 1:
            record |= rates_of_training(self.counts.program, self.train, self.last_batch)
        if training.guide_steps is not None:
            record |= training.guide_steps.look(self.validation)
        record |= training.svi.objective.weights(training.svi.steps)
        record |= training.svi.objective.look_at_penalty(training.svi.steps)
        at.records.append({**record, "seconds": at.seconds})
        loss = record.get("train_loss" if self.validation is None else "valid_loss", at.best)
        compares = training.svi.objective.compares_epochs
        is_best = loss < at.best or not compares
        at.best = min(loss, at.best) if compares else loss
        at.epoch, at.steps_in_epoch, at.loss_in_epoch, at.data_in_epoch = at.epoch + 1, 0, 0.0, 0
        return is_best

    def _of_validation_data(self) -> dict[str, float]:
        """The record of the validation data, of an epoch that is due and of the last one."""
        if self.validation is None or not self._looks:
            return {}
        # a training that goes on from here draws what it would have drawn without this look
        draws = nullcontext() if self._is_due else torch.random.fork_rng()
        with draws, nullcontext() if self._has_validated else self.checks.on():
            self._has_validated = True
            return self.validation.record(self.training.svi.steps)

    @property
    def _is_due(self) -> bool:
        """Whether the epoch that ends is one of every `valid_every`."""
        return (self.training.progress.epoch + 1) % self.valid_every == 0

    @property
    def _looks(self) -> bool:
        """Whether the epoch that ends is to be judged: it is due, or the last one."""
        return self._is_due or self.training.svi.steps >= self.total

    def _batches(self, resumed: Mapping[str, Any] | None) -> Iterator[Sequence[Any]]:
        """The batches of this epoch that are left.

        To resume within an epoch, the batches that were taken are drawn again and left, from the
        generators as they were when it began; then these are put where the training stopped.
        """
        at = self.training.progress
        if resumed is not None and at.steps_in_epoch:
            set_generators_state(resumed.get("rng_of_epoch", resumed["rng"]))
        elif resumed is not None:
            set_generators_state(resumed["rng"])
        self.training.rng_of_epoch = generators_state()
        batches = self.train.once(at.seed + at.epoch)
        next(islice(batches, at.steps_in_epoch, at.steps_in_epoch), None)
        if resumed is not None and at.steps_in_epoch:
            set_generators_state(resumed["rng"])
        return batches

    def _steps(self, batches: Sequence[Sequence[Any]]) -> list[Tensor]:
        """Takes a step on each batch; returns their losses, scaled as by `_step`."""
        training = self.training
        if len(batches) > 1 and all(map(self.checks.has_seen, batches)):
            return self._step_each(batches)
        losses, guide = [], training.guide_steps
        for batch in batches:
            if guide is not None and guide.active:
                self._look_once()
                guide.take(self._step_guide, training.progress.seed)
                losses.append(self._step(batch, training.svi.step_model))
            else:
                losses.append(self._step(batch, training.svi.step))
        return losses

    def _step_each(self, batches: Sequence[Sequence[Any]]) -> list[Tensor]:
        """The same in one call, for batches of a kind that has run before."""
        svi = self.training.svi
        for batch in batches:
            self._check_support(batch)
        losses = svi.step_each(batches)
        if self.payback is not None:
            self.payback.count((svi.step.__name__, kind_of_batch(batches[0])), len(batches))
        weights = map(self.counts.weight, batches)
        return [w * total_of(loss).detach() for w, loss in zip(weights, losses, strict=True)]

    def _step_guide(self, batch: Sequence[Any]) -> Tensor:
        return self._step(batch, self.training.svi.step_guide)

    def _step(self, batch: Sequence[Any], take: Callable[..., Any]) -> Tensor:
        """Takes a step; returns its loss, scaled to the number of data in the batch.

        Args:
            batch: The batch.
            take: Of `SVI`, the method that takes the step.
        """
        first = self.checks.is_new(batch)
        with (
            self.checks.on() if first else nullcontext(),
            explained(batch) if first else nullcontext(),
        ):
            weight = self.counts.weight(batch)
            self._look_once()
            if not first:
                self._check_support(batch)
            loss = self._timed_step(batch, take)
            self.training.has_bounds = self.counts.has_bounds
            if first and not self.training.svi.parameters:
                raise ValueError(
                    "the loss depends on no parameter, so there is nothing to train; give model or "
                    "guide an nn.Module, a PyroParam or a pyro.param that is not frozen"
                )
        return weight * total_of(loss).detach()

    def _check_support(self, batch: Sequence[Any]) -> None:
        """Refuses data of the first epoch that lie outside the support of their likelihood."""
        if not self.training.progress.epoch:
            for observed in self.counts.observed:
                observed.check(batch)

    def _look_once(self) -> None:
        """Looks for what would go wrong with the validation data, before the first step."""
        if self.training.svi.steps or self._has_looked:
            return
        self._has_looked = True
        if self.validation is not None:
            self.validation.look()
        if self.training.guide_steps is not None:
            self.training.guide_steps.check(self.validation)

    def _timed_step(self, batch: Sequence[Any], take: Callable[..., Any]) -> Any:
        svi, payback, guide = self.training.svi, self.payback, self.training.guide_steps
        if payback is None:
            return take(*batch)
        kind = take.__name__, kind_of_batch(batch)
        if payback.is_due(kind):
            svi.compile_next()
        began = time.perf_counter()
        loss = take(*batch)
        seconds, left = time.perf_counter() - began, self.total - svi.steps
        if guide is not None and guide.active:  # as many for each step as so far
            left += round(left * guide.taken / max(svi.steps, 1))
        payback.note(kind, seconds, svi.mode, left)
        return loss
