"""The loop over data: epochs or steps, validation, the best parameters, progress, interruption."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyro
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch.optim import Optimizer
from tqdm.auto import tqdm

from pyro_vae.batches import Data
from pyro_vae.inference.estimators import Estimator, Trace_ELBO, check_has_value, check_loss
from pyro_vae.inference.graphs import Compile
from pyro_vae.program import Program

from .best_parameters import put_back, snapshot
from .epochs import Epochs
from .interrupts import interrupts
from .objective import Objective
from .payback import Payback
from .plate_scale import Counts
from .progress import Fit, Progress
from .second_stage import on_latents
from .svi import SVI
from .training_data import (
    check_counts,
    check_program,
    training_batches,
    validation_batches,
)
from .validation import Validation

__all__ = ["fit"]


def fit(
    program: Program,
    data: Data | Iterable[Any],
    *,
    loss: ELBO | None = None,
    optim: PyroOptim | Optimizer | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 128,
    valid: Data | None = None,
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
        data: A tensor (N, *x_shape), a `Split`, a `DataSource` of data that need not lie in memory,
            or batches to go through again and again, such as a torch `DataLoader`: tensors, or
            tuples of arguments for model and guide. A program `model(x, y)` gets the labels of a
            `Split`, and one `model(image, text)` the data of these names. Floating data become of
            the type of the program's parameters, and go to their device a batch at a time.
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
        compile: As in `SVI`; None captures the step, and compiles it where that is expected to
            earn the compiler's time back, from the time of 100 steps. Draws stay the same, so that
            results change by rounding alone; `Compile(mode="captured")` and False keep all bits.
        bfloat16: Whether layers multiply in bfloat16, as in `SVI`.
        progress: Shows a bar with the time left, on a terminal or in a notebook.
        on_epoch: Called after each epoch with the training and whether it is the best so far.
        resume: The `state_dict` of a training to go on with, whose parameters the program has (or
            gets: those before the best were put back).
            `epochs` and `steps` count from its beginning. With the same data, batches and loss it
            goes on bit for bit as if it had not been interrupted, unless the step was compiled,
            when it does so up to rounding.

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
    if lr_schedule is not None and not callable(lr_schedule):
        raise ValueError(
            f"lr_schedule is {lr_schedule!r}, but must be a function of the step that returns a "
            "factor of the learning rate, such as cosine(1, 0, steps=10_000)"
        )
    optim = pyro.optim.Adam({"lr": 1e-3}) if optim is None else optim
    stepped, data = on_latents(program, data)
    train = training_batches(stepped, data, loss, batch_size)
    judged = validation_batches(program, valid, loss)
    total = steps or (epochs or 20) * train.num_batches()
    options: dict[str, Any] = {"clip_norm": clip_norm, "lr_schedule": lr_schedule}
    options |= {"compile": _graphs(loss) if compile is None else compile, "bfloat16": bfloat16}
    svi = SVI(stepped.model, stepped.guide, optim, loss, **options)
    run = Fit(svi, Progress.at_first(train), loss)
    if resume is not None:
        run.load_state_dict(resume)
        put_back(program, loss, run.last)
        run.last = {}
    if svi.steps > total:
        raise ValueError(
            f"the training to go on with has taken {svi.steps} steps, more than the {total} in all "
            "that are asked for; epochs and steps count from its beginning"
        )
    _warn_of_late_schedules(svi.objective, total)
    counts = Counts(stepped, loss)
    validation = None
    if judged is not None:
        check_has_value(loss)
        validation = Validation(program, loss, judged, Counts(program, loss), total)
    began = time.perf_counter() - run.progress.seconds
    bar = tqdm(total=total, initial=svi.steps, unit="step", disable=None if progress else True)
    with bar, interrupts() as stop:
        payback = Payback() if compile is None else None
        training = Epochs(run, train, validation, counts, total, payback, stop, bar)
        with training.checks.off():
            while svi.steps < total and not stop.is_set():
                ended = training.steps(resume)
                resume = None
                run.progress.seconds = time.perf_counter() - began
                if not ended:
                    break
                is_best = training.record()
                if is_best and validation is not None:
                    run.best = snapshot(program, svi)
                bar.set_description(svi.mode)
                bar.set_postfix(_shown(run.records[-1]))
                if on_epoch is not None:
                    with training.checks.on():
                        on_epoch(run, is_best)
    run.interrupted = svi.steps < total
    if run.best and not run.interrupted:
        run.last = snapshot(program, svi)
        put_back(program, loss, run.best)
    return run


def _graphs(loss: Any) -> bool | Compile:
    """As graphs, where the loss may be one, which draw the same numbers when they are compiled."""
    capturable = isinstance(loss, Estimator) and not loss.in_chunks
    return Compile(mode="captured", eager_random=True) if capturable else False


def _shown(record: Mapping[str, float]) -> dict[str, str]:
    names = ("epoch", "train_loss", "valid_loss")
    return {name: f"{record[name]:.5g}" for name in names if name in record}


def _warn_of_late_schedules(objective: Objective, total: int) -> None:
    for name, schedule in objective.schedules.items():
        needed = getattr(schedule, "steps", getattr(schedule, "period", 0))
        if needed > total:
            warnings.warn(
                f"{name} of {type(objective.loss).__name__} takes {needed} steps to reach its end, "
                f"but the training has {total}; shorten the schedule or train longer",
                stacklevel=3,
            )
