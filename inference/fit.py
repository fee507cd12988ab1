"""The loop over data: epochs or steps, validation, the best parameters, progress, interruption."""

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor
from torch.optim import Optimizer
from tqdm.auto import tqdm

from pyro_vae.datasets import Split
from pyro_vae.program import Program

from .batches import Batches, num_data
from .capture import Compile
from .checks import Checks
from .counts import Counts
from .elbo import Trace_ELBO
from .estimator import Estimator
from .explained import explained
from .generators import generators_state, set_generators_state
from .interrupts import interrupts
from .losses import check_has_value, check_loss, has_value, total_of
from .mmd import MMD
from .progress import Fit, Progress
from .snapshot import put_back, snapshot
from .svi import SVI
from .training_data import check_counts, check_program, training_data, validation_data
from .validation import Validation

__all__ = ["fit"]

Data = Tensor | Split | Iterable[Any]
_WORTH_FUSING = 5_000  # steps; compiling takes 3 to 17 s and saves 2 to 12 ms a step


def fit(
    program: Program,
    data: Data,
    *,
    loss: ELBO | None = None,
    optim: PyroOptim | Optimizer | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    valid: Tensor | Split | None = None,
    clip_norm: float | None = None,
    lr_schedule: Callable[[int], float] | None = None,
    compile: bool | Compile | None = None,
    bfloat16: bool = False,
    progress: bool = True,
    on_epoch: Callable[[Fit, bool], None] | None = None,
    resume: Mapping[str, Any] | None = None,
) -> Fit:
    """Trains a program on data by SVI.

    Args:
        program: What to train.
        data: A tensor (N, *x_shape), a `Split`, or batches to go through again and again, such as
            a torch `DataLoader`: tensors, or tuples of arguments for model and guide. A program
            `model(x, y)` gets the labels of a `Split`. Floating data become of the type of the
            program's parameters, and go to their device a batch at a time.
        loss: The estimator, by default `Trace_ELBO()`.
        optim: A Pyro or torch optimizer, by default Adam with learning rate 1e-3.
        epochs: Passes over the data; 20 if neither these nor steps are given.
        steps: Gradient steps, instead of epochs.
        batch_size: Data in a step, where `data` is not in batches already. The last batch of an
            epoch may be smaller; but a single datum that is left over joins the batch before it if
            the program holds a batch normalization or the loss is `MMD`, which need two data.
        valid: Data to validate on after each epoch; the parameters of the best epoch are then put
            into the program at the end.
        clip_norm: The largest norm of the gradient of all parameters together.
        lr_schedule: A factor of the learning rate, from the step.
        compile: As in `SVI`; None captures the step, and compiles it where the training is long
            enough to earn the compiler's time back.
        bfloat16: Whether layers multiply in bfloat16, as in `SVI`.
        progress: Shows a bar with the time left, on a terminal or in a notebook.
        on_epoch: Called after each epoch with the training and whether it is the best so far.
        resume: The `state_dict` of a training to go on with, whose parameters the program has (or
            gets: those before the best were put back).
            `epochs` and `steps` count from its beginning. With the same data, batches and loss it
            goes on bit for bit as if it had not been interrupted, unless the step is compiled.

    Pyro's checks run, as they are set, at the first step of each kind of batch and at the first
    validation; further batches of the first epoch are checked to lie in their likelihood's support.

    Returns:
        The training. Ctrl-C ends it after the step under way; a second Ctrl-C at once.

    Raises:
        FloatingPointError: If the loss is not finite; says at which step, and which site.
        TypeError: If data, their batches or valid are of another kind than these.
        ValueError: If there are no data, they end and cannot be gone through again, the program
            cannot take them, or `resume` is of a training on other data or batches.

    Example:
        >>> vae = VAE((1, 8, 8), latent_dim=2)
        >>> fit(vae, torch.zeros(64, 1, 8, 8), epochs=2, progress=False).svi.steps
        2
    """
    check_counts(epochs=epochs, steps=steps, batch_size=batch_size)
    check_program(program)
    loss = Trace_ELBO() if loss is None else loss
    check_loss(loss)
    optim = pyro.optim.Adam({"lr": 1e-3}) if optim is None else optim
    compares = isinstance(loss, MMD)
    data, valid = training_data(data), validation_data(valid)
    train = Batches.of(program, data, batch_size, training=True, compares=compares)
    total = steps or (epochs or 20) * train.steps()
    if compile is None:
        capturable = isinstance(loss, Estimator) and not loss.in_chunks
        compile = Compile(fuse=total >= _WORTH_FUSING) if capturable else False
    options: dict[str, Any] = {"clip_norm": clip_norm, "lr_schedule": lr_schedule}
    options |= {"compile": compile, "bfloat16": bfloat16}
    svi = SVI(program.model, program.guide, optim, loss, **options)
    run = Fit(svi, Progress.at_first(train), loss)
    if resume is not None:
        run.load_state_dict(resume)
        put_back(program, run.last)
        run.last = {}
    _warn_of_late_schedules(loss, total)
    counts = Counts(program, loss)
    validation = None
    if valid is not None:
        check_has_value(loss)
        judged = Batches.of(program, valid, 500, training=False, compares=compares)
        validation = Validation(program, loss, judged, counts, total)
    began = time.perf_counter() - run.progress.seconds
    bar = tqdm(total=total, initial=svi.steps, unit="step", disable=None if progress else True)
    with bar, interrupts() as stop:
        loop = _Loop(run, train, validation, counts, total, stop, bar)
        with loop.checks.off():
            while svi.steps < total and not stop.is_set():
                ended = loop.epoch(resume)
                resume = None
                run.progress.seconds = time.perf_counter() - began
                if not ended:
                    break
                is_best = loop.record()
                if is_best and validation is not None:
                    run.best = snapshot(program, svi)
                bar.set_description(svi.mode)
                bar.set_postfix(_shown(run.records[-1]))
                if on_epoch is not None:
                    with loop.checks.on():
                        on_epoch(run, is_best)
    run.interrupted = svi.steps < total
    if run.best and not run.interrupted:
        run.last = snapshot(program, svi)
        put_back(program, run.best)
    return run


class _Loop:
    """What the epochs of a training share."""

    def __init__(
        self,
        run: Fit,
        train: Batches,
        validation: Validation | None,
        counts: Counts,
        total: int,
        stop: threading.Event,
        bar: Any,
    ) -> None:
        self.run, self.train, self.validation, self.counts = run, train, validation, counts
        self.total, self.stop, self.bar, self.checks = total, stop, bar, Checks()

    def epoch(self, resumed: Mapping[str, Any] | None) -> bool:
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
        if has_value(run.loss):
            _check_finite(losses, run.svi.steps)
        at.loss_in_epoch += float(sum(losses))
        return not self.stop.is_set() or run.svi.steps >= self.total

    def record(self) -> bool:
        """Closes an epoch with its record; says whether it is the best so far."""
        run, at = self.run, self.run.progress
        record: dict[str, float] = {"epoch": at.epoch + 1, "step": run.svi.steps}
        if has_value(run.loss):
            record["train_loss"] = at.loss_in_epoch / at.data_in_epoch
        if self.validation is not None:
            first = at.epoch == 0
            with self.checks.on() if first else nullcontext():
                record |= self.validation.record(run.svi.steps)
        if isinstance(run.loss, Estimator):
            schedules = run.loss.schedules().items()
            record |= {name: value(run.svi.steps) for name, value in schedules}
        at.records.append({**record, "seconds": at.seconds})
        loss = record.get("valid_loss", record.get("train_loss", at.best))
        is_best, at.best = loss < at.best or not has_value(run.loss), min(loss, at.best)
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
            loss = self.run.svi.step(*batch)
        return weight * total_of(loss).detach()


def _check_finite(losses: list[Tensor], steps: int) -> None:
    """Refuses what `SVI` does not see, since it looks at every 100th step on a GPU."""
    if not losses or torch.stack(losses).isfinite().all():
        return
    finite = torch.stack(losses).isfinite().tolist()
    step = steps - len(losses) + finite.index(False)
    raise FloatingPointError(
        f"the loss is {losses[finite.index(False)].item()} at step {step}, and the parameters may "
        "be spoilt since; a lower learning rate or clip_norm helps"
    )


def _shown(record: Mapping[str, float]) -> dict[str, str]:
    names = ("epoch", "train_loss", "valid_loss")
    return {name: f"{record[name]:.5g}" for name in names if name in record}


def _warn_of_late_schedules(loss: Any, total: int) -> None:
    if not isinstance(loss, Estimator):
        return
    for name, schedule in loss.schedules().items():
        needed = getattr(schedule, "steps", getattr(schedule, "period", 0))
        if needed > total:
            warnings.warn(
                f"{name} of {type(loss).__name__} takes {needed} steps to reach its end, but the "
                f"training has {total}; shorten the schedule or train longer",
                stacklevel=3,
            )
