"""The loop over data: epochs or steps, validation, the best parameters, progress, interruption."""

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm.auto import tqdm

from pyro_vae.arguments import order_of_arguments
from pyro_vae.datasets import Split
from pyro_vae.program import Program, device_of, modules_of

from .capture import Compile
from .counts import Counts
from .estimator import Estimator
from .interrupts import interrupts
from .progress import Fit, Progress
from .svi import SVI
from .training_data import (
    batches,
    check_counts,
    has_labels,
    steps_in_an_epoch,
    training_data,
    validation_data,
)
from .validation import validate

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
            `model(x, y)` gets the labels of a `Split`.
        loss: The estimator, by default `Trace_ELBO()`.
        optim: A Pyro or torch optimizer, by default Adam with learning rate 1e-3.
        epochs: Passes over the data; 20 if neither these nor steps are given.
        steps: Gradient steps, instead of epochs.
        batch_size: Data in a step, where `data` is not in batches already.
        valid: Data to validate on after each epoch; the parameters of the best epoch are then put
            into the program at the end.
        clip_norm: The largest norm of the gradient of all parameters together.
        lr_schedule: A factor of the learning rate, from the step.
        compile: As in `SVI`; None captures the step, and compiles it where the training is long
            enough to earn the compiler's time back.
        bfloat16: Whether layers multiply in bfloat16, as in `SVI`.
        progress: Shows a bar with the time left, on a terminal or in a notebook.
        on_epoch: Called after each epoch with the training and whether it is the best so far.
        resume: The `state_dict` of a training to go on with, whose parameters the program has.

    Returns:
        The training. Ctrl-C ends it after the step under way; a second Ctrl-C at once.

    Raises:
        FloatingPointError: If the loss is not finite; says at which step, and which site.
        TypeError: If data, their batches or valid are of another kind than these.
        ValueError: If there are no data, or they end and cannot be gone through again.

    Example:
        >>> vae = VAE((1, 8, 8), latent_dim=2)
        >>> fit(vae, torch.zeros(64, 1, 8, 8), epochs=2, progress=False).svi.steps
        2
    """
    check_counts(epochs=epochs, steps=steps, batch_size=batch_size)
    optim = pyro.optim.Adam({"lr": 1e-3}) if optim is None else optim
    data, valid = training_data(data), validation_data(valid)
    labels = has_labels(program, data)
    if valid is not None:  # before any step
        order_of_arguments(program, labels=has_labels(program, valid))
    total = steps or (epochs or 20) * steps_in_an_epoch(data, batch_size, labels=labels)
    if compile is None:
        capturable = loss is None or (isinstance(loss, Estimator) and not loss.in_chunks)
        compile = Compile(fuse=total >= _WORTH_FUSING) if capturable else False
    options: dict[str, Any] = {"clip_norm": clip_norm, "lr_schedule": lr_schedule}
    options |= {"compile": compile, "bfloat16": bfloat16}
    run = Fit(
        SVI(program.model, program.guide, optim, loss, **options),
        Progress(seed=int(torch.randint(2**31, ()))),
    )
    if resume is not None:
        run.progress = Progress(**resume["progress"])
        run.svi.load_state_dict(resume["svi"])
    _warn_of_late_schedules(run.svi.loss, total)
    modules = modules_of(program.model, program.guide)
    device = device_of(program)
    best: list[Tensor] = []

    counts = Counts(program, run.svi.loss)
    rng = None if resume is None else resume["rng"]
    began = time.perf_counter() - run.progress.seconds
    bar = tqdm(total=total, initial=run.svi.steps, unit="step", disable=None if progress else True)
    with bar, interrupts() as stop, pyro.validation_enabled(False):
        while run.svi.steps < total and not stop.is_set():
            seed = run.progress.seed + run.progress.epoch
            left = batches(program, data, batch_size, seed)
            done = run.progress.steps_in_epoch  # before the interruption
            next(islice(left, done, done), None)
            if rng is not None:
                _set_rng_state(rng)
                rng = None
            ended = _epoch(run, left, counts, device, total, stop, bar)
            run.progress.seconds = time.perf_counter() - began
            if not ended:
                break
            is_best = _record(run, program, valid, total, counts)
            if is_best and valid is not None:
                best = [tensor.clone() for tensor in _tensors(run.svi, modules)]
            bar.set_description(run.svi.mode)
            bar.set_postfix(_shown(run.records[-1]))
            if on_epoch is not None:
                on_epoch(run, is_best)
        run.interrupted = run.svi.steps < total
    if best and not run.interrupted:
        for tensor, value in zip(_tensors(run.svi, modules), best, strict=True):
            tensor.copy_(value)
    return run


def _epoch(
    run: Fit,
    batches: Iterator[Sequence[Any]],
    counts: Counts,
    device: torch.device,
    total: int,
    stop: threading.Event,
    bar: Any,
) -> bool:
    """Steps through what is left of an epoch; says whether it came to its end."""
    at = run.progress
    losses: list[Tensor] = []
    for batch in batches:
        args = [part.to(device) if isinstance(part, Tensor) else part for part in batch]
        weight = counts.weight(args)
        losses.append(weight * run.svi.step(*args))
        at.data_in_epoch += len(args[0])
        at.steps_in_epoch += 1
        bar.update()
        if run.svi.steps >= total or stop.is_set():
            break
    if not at.steps_in_epoch:
        raise ValueError(
            "the data are empty"
            if not run.svi.steps
            else f"the data ended after {run.svi.steps} steps; give data that can be gone through "
            "again, such as a list of batches or a DataLoader, or take fewer steps"
        )
    _check_finite(losses, run.svi.steps)
    at.loss_in_epoch += float(sum(losses))
    return not stop.is_set() or run.svi.steps >= total


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


def _record(run: Fit, program: Program, valid: Split | None, total: int, counts: Counts) -> bool:
    """Closes an epoch with its record; says whether it is the best so far."""
    at = run.progress
    record = {
        "epoch": at.epoch + 1,
        "step": run.svi.steps,
        "train_loss": at.loss_in_epoch / at.data_in_epoch,
    }
    if valid is not None:
        record |= validate(run.svi, program, valid, total, counts)
    if isinstance(run.svi.loss, Estimator):
        record |= {name: value(run.svi.steps) for name, value in run.svi.loss.schedules().items()}
    at.records.append({**record, "seconds": at.seconds})
    loss = record.get("valid_loss", record["train_loss"])
    is_best, at.best = loss < at.best, min(loss, at.best)
    at.epoch, at.steps_in_epoch, at.loss_in_epoch, at.data_in_epoch = at.epoch + 1, 0, 0.0, 0
    return is_best


def _set_rng_state(rng: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(rng["cpu"])
    if "cuda" in rng and torch.cuda.is_available():
        torch.cuda.set_rng_state(rng["cuda"])


def _tensors(svi: SVI, modules: Mapping[str, nn.Module]) -> list[Tensor]:
    """What a training changes: the parameters, and buffers such as BatchNorm's."""
    buffers = [buffer for module in modules.values() for buffer in module.buffers()]
    return [parameter.data for parameter in svi.parameters.values()] + buffers


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
