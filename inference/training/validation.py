"""The validation data after an epoch: their loss, their rate and their distortion."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyro
import torch

from pyro_vae.batches import Batches, num_data
from pyro_vae.estimating import on_average
from pyro_vae.inference.estimators import Estimator, judged_by
from pyro_vae.inference.evaluation import evaluate_batches, usage_in
from pyro_vae.program import Program, evaluating, in_evaluation_mode

from .explained import explained
from .plate_scale import Counts
from .site_rates import sums_of_rates

__all__ = ["Validation"]


class Validation:
    """Judges the validation data, a batch at a time, for the record of an epoch.

    Args:
        program: The program that is trained.
        loss: Its loss. Schedules have their values at the last step, so that all epochs are judged
            by one loss.
        data: The validation data, of a `DataSource`.
        counts: Tells how many data the loss of a batch stands for.
        last_step: The step at which the training ends.
    """

    def __init__(
        self, program: Program, loss: Any, data: Batches, counts: Counts, last_step: int
    ) -> None:
        self.program, self.data, self.counts = program, data, counts
        source: Any = data.data  # which knows its length, as batches of a user need not
        self.num_data = len(source)
        self.loss = loss.at(last_step) if isinstance(loss, Estimator) else loss
        self.parts = isinstance(loss, Estimator)  # whether there are rate and distortion
        self._may_have_codes = True  # until a pass has met none

    def look(self) -> None:
        """Runs the program on the first batch, to find data that do not fit it before a step.

        Pyro's validation is off, since a batch normalization may have seen no data yet.

        Raises:
            ValueError: If the program fails on it.
        """
        batch = self.data.first()
        shapes = [tuple(part.shape) for part in batch]
        try:
            with self._judging(), pyro.validation_enabled(False):
                self.counts.look(batch)
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"the program fails on the validation data, in a batch of shape {shapes}: "
                f"{str(error).strip().splitlines()[0]}"
            ) from error

    def record(self, step: int) -> dict[str, float]:
        """The loss, and rate and distortion if each datum has its own, in nats per datum.

        Of two latent sites or more, the rate of each is beside them.

        Where epochs are not compared by the loss and it is no bound on log p(x), the program's
        own, minus their sum, is beside it.

        Args:
            step: The steps so far, for the sentence of an error.

        Raises:
            FloatingPointError: If the loss is not finite.
        """
        sums = {"valid_loss": 0.0}
        number = 0
        modules = self.loss.modules.values() if isinstance(self.loss, Estimator) else ()
        # the averages of an estimator's modules, such as a discriminator's, stay as they are
        with self._judging(), in_evaluation_mode(modules), _named(step):
            for batch in self.data.once():
                number += num_data(batch)
                with explained(batch):
                    values = self._values(batch)
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + value
        _check_finite(sums["valid_loss"], step)
        names = sums if self.parts else ["valid_loss"]
        return {name: sums[name] / number for name in names} | self._usage()

    @contextmanager
    def _judging(self) -> Iterator[None]:
        """Judges the program by its mean over all the data."""
        with evaluating(self.program), on_average(self.num_data):
            yield

    def _usage(self) -> dict[str, float]:
        """How many codes are used, and their perplexity, where the program has codes."""
        if not self._may_have_codes:
            return {}
        # the random numbers of a training do not depend on what is reported of it
        with evaluating(self.program), torch.random.fork_rng():
            usages = usage_in(self.program, self.data.once())
        self._may_have_codes = bool(usages)
        record: dict[str, float] = {}
        for name, usage in usages.items():
            of = f" of {name}" if len(usages) > 1 else ""
            record |= {f"codes_used{of}": usage.used, f"perplexity{of}": usage.perplexity}
        return record

    def _values(self, batch: Sequence[Any]) -> dict[str, float]:
        loss = judged_by(self.loss, self.program.model, self.program.guide, *batch)
        values = {"valid_loss": self.counts.weight(batch) * float(loss)}
        self.parts = self.parts and self.counts.has_columns(batch)
        if self.parts:
            try:
                terms = evaluate_batches(self.program, replace(self.data, data=[batch], rows=None))
            except ValueError:  # the loss takes more programs than have a bound for each datum
                self.parts = False
            else:
                values["rate"] = terms.rate.sum().item()
                values["distortion"] = terms.distortion.sum().item()
                values |= sums_of_rates(terms)
                if terms.is_bound and not (self.loss.is_bound or self.loss.compares_epochs):
                    values["valid_bound"] = terms.bound.sum().item()
        return values


@contextmanager
def _named(step: int) -> Iterator[None]:
    try:
        yield
    except FloatingPointError as error:
        raise FloatingPointError(f"on the validation data, at step {step}: {error}") from error


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss of the validation data is {loss} at step {step}; look at these data, or "
            "take a lower learning rate or clip_norm"
        )
