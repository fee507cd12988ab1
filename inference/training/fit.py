"""`fit`: trains a program for epochs or steps, validates it, and keeps its best parameters."""

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

from .batch_statistics import BatchStatistics
from .best_parameters import put_back, snapshot
from .epochs import Epochs
from .guide_steps import Aggressive, GuideSteps, check_guide_steps
from .interrupts import interrupts
from .objective import Objective
from .payback import Payback
from .penalty import WEIGHT, PenaltyFunction
from .plate_scale import Counts
from .progress import Fit, Progress
from .second_stage import on_latents
from .site_rates import RateLine
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
    valid_every: int = 1,
    clip_norm: float | None = None,
    lr_schedule: Callable[[int], float] | None = None,
    compile: bool | Compile | None = None,
    bfloat16: bool = False,
    penalty: PenaltyFunction | None = None,
    recompute_batch_statistics: bool = False,
    guide_steps: int | Aggressive | None = None,
    progress: bool = True,
    on_epoch: Callable[[Fit, bool], None] | None = None,
    resume: Mapping[str, Any] | None = None,
) -> Fit:
    """Trains a program on data by SVI.

    Args:
        program: What to train.
        data: A tensor (N, *x_shape); a `Split` of data and labels; a `DataSource`, whose data need
            not lie in memory; or batches that can be gone through again and again, such as those of
            a torch `DataLoader`: tensors, or tuples of arguments for model and guide. A program
            `model(x, y)` gets the labels of a `Split`, and a program `model(image, text)` the data
            of these names. Each batch goes to the device of the program's parameters, and its
            floating data take their type.
        loss: The estimator, by default `Trace_ELBO()`.
        optim: A Pyro or torch optimizer, by default Adam with learning rate 1e-3.
        epochs: Passes over the data; 20 if neither these nor steps are given.
        steps: Gradient steps, instead of epochs.
        batch_size: Data in a step, where `data` is not in batches already. The last batch of an
            epoch may be smaller. If a single datum is left over and the program has batch
            normalization or the loss is `MMD`, which need two data, it joins the batch before it.
        valid: Data on which the loss is computed after each epoch. At the end the program gets the
            parameters of the epoch where it was lowest.
        valid_every: So many epochs lie between one look at the validation data and the next, where
            this takes long, as of a second stage, which is judged on the data and not on latents.
            The last epoch has one, too.
        clip_norm: Scales the gradient down where the norm over all parameters exceeds this.
        lr_schedule: A function of the step, whose value multiplies the learning rate.
        compile: As in `SVI`. None captures the step, and compiles it if that is expected to save
            more time than it takes, judged by 100 steps. Draws stay the same, so that results
            change by rounding alone; `Compile(mode="captured")` and False keep all bits.
        bfloat16: Whether layers multiply in bfloat16, as in `SVI`.
        penalty: As in `SVI`: a function of the program's modules, such as `Spectral(1e-2)`.
        recompute_batch_statistics: Whether the means and variances by which batch normalization
            evaluates are taken anew, in one pass over the training data, before each look at the
            validation data and at the end. Else they are moving averages, which lag behind. The
            parameters that the training finds, and its random numbers, are the same.
        guide_steps: So many steps of the guide alone, on batches of their own, before each step,
            which then is of the model alone; or `Aggressive()`, which finds out how many, and for
            how long. What both use belongs to the model. Steps, epochs and schedules count the
            model's steps. None trains both together.
        progress: Shows a bar with the time left, on a terminal or in a notebook.
        on_epoch: Called after each epoch with the training, and with whether the loss was the
            lowest so far.
        resume: The `state_dict` of an earlier training of this program, which goes on. The program
            must have the parameters that it had at the end of that one. `epochs` and `steps` count
            from its beginning. With the same data, batches and loss the result is bit for bit that
            of a training without interruption; of compiled steps, up to rounding.

    Pyro's validation, as the user has set it, is on for the first step with batches of each shape
    and for the first validation. The other batches of the first epoch are checked to lie in the
    support of their likelihood.

    Returns:
        The training. Ctrl-C ends it after the steps under way; a second Ctrl-C at once.

    Raises:
        FloatingPointError: If the loss is not finite. It names the step and the site.
        TypeError: If the data, their batches or `valid` are of another type than these.
        ValueError: If there are no data, if they cannot be gone through again, if the program
            cannot take them, or if `resume` is of a training on other data or batches.

    Example:
        >>> vae = VAE((1, 8, 8), latent_dim=2)
        >>> fit(vae, torch.zeros(64, 1, 8, 8), epochs=2, progress=False).svi.steps
        2
    """
    check_counts(epochs=epochs, steps=steps, batch_size=batch_size, valid_every=valid_every)
    check_program(program)
    if guide_steps is not None:
        check_guide_steps(guide_steps, has_valid=valid is not None)
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
    judge, valid = on_latents(program, valid, judged=True)
    judged = validation_batches(judge, valid, loss)
    total = steps or (epochs or 20) * train.num_batches()
    options: dict[str, Any] = {"clip_norm": clip_norm, "lr_schedule": lr_schedule}
    options |= {"compile": _graphs(loss) if compile is None else compile, "bfloat16": bfloat16}
    options |= {"penalty": penalty}
    svi = SVI(stepped.model, stepped.guide, optim, loss, **options)
    guide = None if guide_steps is None else GuideSteps(guide_steps, train)
    training = Fit(svi, Progress.at_first(train), loss, guide)
    if resume is not None:
        training.load_state_dict(resume)
        put_back(program, loss, training.last)
        training.last = {}
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
        validation = Validation(judge, loss, judged, Counts(judge, loss), total)
    began = time.perf_counter() - training.progress.seconds
    bar = tqdm(total=total, initial=svi.steps, unit="step", disable=None if progress else True)
    with RateLine(shown=not bar.disable) as line, bar, interrupts() as stop:
        payback = Payback() if compile is None else None
        loop = Epochs(
            training,
            train,
            validation,
            valid_every,
            counts,
            total,
            payback,
            stop,
            bar,
            BatchStatistics(stepped, train) if recompute_batch_statistics else None,
        )
        with loop.checks.off():
            while svi.steps < total and not stop.is_set():
                ended = loop.steps(resume)
                resume = None
                training.progress.seconds = time.perf_counter() - began
                if not ended:
                    break
                is_best = loop.record()
                if is_best and validation is not None:
                    training.best = snapshot(program, svi)
                bar.set_description(svi.mode)
                bar.set_postfix(_shown(training.records[-1]))
                line.show(training.records[-1])
                if on_epoch is not None:
                    with loop.checks.on():
                        on_epoch(training, is_best)
    training.interrupted = svi.steps < total
    if training.best and not training.interrupted:
        training.last = snapshot(program, svi)
        put_back(program, loss, training.best)
    return training


def _graphs(loss: Any) -> bool | Compile:
    """Captured steps, which draw the same numbers once compiled, where the loss can be captured."""
    capturable = isinstance(loss, Estimator) and not loss.in_chunks
    options = Compile(mode="captured", background=True)
    return options if capturable else False


def _shown(record: Mapping[str, float]) -> dict[str, str]:
    names = ("epoch", "train_loss", "valid_loss")
    return {name: f"{record[name]:.5g}" for name in names if name in record}


def _warn_of_late_schedules(objective: Objective, total: int) -> None:
    for name, schedule in objective.schedules.items():
        owner, name = (objective.penalty, "weight") if name == WEIGHT else (objective.loss, name)
        needed = getattr(schedule, "steps", getattr(schedule, "period", 0))
        if needed > total:
            warnings.warn(
                f"{name} of {type(owner).__name__} takes {needed} steps to reach its end, "
                f"but the training has {total}; shorten the schedule or train longer",
                stacklevel=3,
            )
