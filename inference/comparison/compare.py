"""`compare`: the bounds of several estimators on one program, their gradients and their cost."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vae.batches import Data
from pyro_vae.inference.estimators import Estimator
from pyro_vae.parameters import own_parameters
from pyro_vae.program import Program

from .bench import Bench, Cell
from .held_out import Training
from .result import Comparison, refusals_of

__all__ = ["compare"]


def compare(
    program: Program,
    x: Data,
    estimators: Sequence[ELBO] | Mapping[str, ELBO],
    *,
    y: Tensor | None = None,
    num_particles: Sequence[int] = (1, 5, 50),
    seeds: Sequence[int] = (0,),
    repeats: int = 100,
    data: Data | None = None,
    held_out: Data | None = None,
    train_steps: int | None = None,
    train_seconds: float | None = None,
    optim: PyroOptim | None = None,
    progress: bool = True,
) -> Comparison:
    """Compares estimators on one program. Its parameters stay as they are.

    Each draw of a bound and its gradient is a training step on the batch at learning rate 0. The
    steps of the estimators take turns, so that other work on the machine slows all of them alike.

    The bias of a gradient is its distance from the gradient of the bound that the estimator
    reports. So it includes a bias by design, as of the guide's gradient in `PIWAE`. The gradient of
    the bound is exact for the ELBO of a program with methods `log_evidence(x)`, the log p(x) of
    each datum, and `posterior(x)`, the exact p(z | x), such as `LinearGaussian`. Otherwise it is
    the mean over twice as many draws of another estimator, which the method `reference` of the
    estimator names. The table shows no bias of an estimator without that method.

    Args:
        program: The program.
        x: The batch: a tensor (N, *x_shape), a `Split`, or a `DataSource`, of which the first 128
            data are the batch.
        estimators: Those to compare. In a mapping they are called by its keys, otherwise by their
            class and fields. Schedules have their last values, except in training.
        y: The labels, if x is a tensor and the program is a `model(x, y)`.
        num_particles: The numbers of particles K at which the estimators are compared; of `MIWAE`
            and `PIWAE` it is the product M K.
        seeds: Each seed gives its own draws, and its own training.
        repeats: The number of draws for each seed.
        data: Data to train on, in batches of N, with labels if the program takes some; None trains
            nothing.
        held_out: Data for the log-likelihood after training, by 1000 particles for each datum.
        train_steps: The number of steps of each training, for a comparison after equal steps.
        train_seconds: The length of each training, for a comparison after equal time. The number of
            steps follows from the median time of a step.
        optim: A Pyro optimizer for the training, by default Adam with learning rate 1e-3.
        progress: Shows a bar with the time left, on a terminal or in a notebook.

    Returns:
        A row for each K and estimator. If an estimator refuses the program, its row has the reason.

    Raises:
        ValueError: If there is nothing to compare, or if every estimator refuses the program.

    Example:
        >>> program = LinearGaussian((5,), latent_dim=2)
        >>> x = torch.randn(8, 5)
        >>> result = compare(program, x, [IWAE(), DReG()], num_particles=(1, 4), repeats=5)
        >>> [(row.estimator, row.num_particles) for row in result.rows]
        [('IWAE', 1), ('DReG', 1), ('IWAE', 4), ('DReG', 4)]

    Reference:
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537
    """
    named = _named(estimators)
    _check(num_particles, seeds, repeats)
    training = Training.asked(data, held_out, train_steps, train_seconds, optim)
    with (
        torch.random.fork_rng(),
        own_parameters(program.model, program.guide),
        Bench(program, x, y) as bench,
        tqdm(unit="particle", unit_scale=True, disable=None if progress else True) as bar,
    ):
        if training is not None:
            training.check(bench)
        cells = [Cell(name, e, k) for k in num_particles for name, e in named.items()]
        bench.prepare(cells)
        live = [cell for cell in cells if cell.refusal is None]
        if not live:
            refusals = refusals_of([cell.row() for cell in cells])
            raise ValueError(f"every estimator refuses: {'; '.join(refusals)}")
        _measure(bench, live, seeds, repeats, bar)
        if training is not None:
            training.run([cell for cell in live if cell.refusal is None], bench, seeds, bar)
        return Comparison(tuple(cell.row() for cell in cells), bench.num_data, repeats * len(seeds))


def _measure(
    bench: Bench, cells: Sequence[Cell], seeds: Sequence[int], repeats: int, bar: Any
) -> None:
    references = [cell for cell in bench.references(cells) if not bench.settle(cell)]
    bench.prepare(references)
    streams = [_stream(seed, 3 * repeats) for seed in seeds]
    first = [seed for stream in streams for seed in stream[:repeats]]
    others = [seed for stream in streams for seed in stream[repeats:]]
    bar.total = len(first) * sum(cell.num_particles for cell in cells)
    bar.total += len(others) * sum(cell.num_particles for cell in references)
    bar.set_description("references")
    bench.measure(references, others, bar)
    for k in dict.fromkeys(cell.num_particles for cell in cells):
        bar.set_description(f"K = {k}")
        bench.measure([cell for cell in cells if cell.num_particles == k], first, bar)


def _stream(seed: int, count: int) -> list[int]:
    """Seeds for draws that are independent of each other."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2**62, (count,), generator=generator).tolist()


def _named(estimators: Sequence[ELBO] | Mapping[str, ELBO]) -> dict[str, ELBO]:
    several = isinstance(estimators, Mapping | Sequence) and not isinstance(estimators, str)
    if not several:
        raise TypeError(f"compare takes several estimators, such as [{estimators}, ...]")
    for estimator in estimators.values() if isinstance(estimators, Mapping) else estimators:
        if isinstance(estimator, type):
            raise TypeError(f"{estimator.__name__} is a class; write {estimator.__name__}()")
        if not isinstance(estimator, ELBO):
            raise TypeError(
                f"estimators are objects such as IWAE() or pyro.infer.Trace_ELBO(), but one is "
                f"{estimator!r:.80}"
            )
    if not estimators:
        raise ValueError("there is no estimator to compare; give some, such as [IWAE(), DReG()]")
    if isinstance(estimators, Mapping):
        return dict(estimators)
    named: dict[str, ELBO] = {}
    for estimator in estimators:
        name, number = _name(estimator), 2
        while name in named:
            name, number = f"{_name(estimator)} {number}", number + 1
        named[name] = estimator
    return named


def _name(estimator: ELBO) -> str:
    """The class with what differs from its defaults, but for K and how its draws are run."""
    values = []
    if isinstance(estimator, Estimator):
        plumbing = {"num_particles", "max_plate_nesting", "vectorize_particles", "chunk_size"}
        values = [
            f"{f.name}={getattr(estimator, f.name)!r}"
            for f in fields(estimator)
            if f.name not in plumbing and getattr(estimator, f.name) != f.default
        ]
    return type(estimator).__name__ + (f"({', '.join(values)})" if values else "")


def _check(num_particles: Sequence[int], seeds: Sequence[int], repeats: int) -> None:
    if not num_particles or min(num_particles) < 1:
        raise ValueError(
            f"num_particles must be numbers of at least 1, but are {tuple(num_particles)}"
        )
    if not seeds:
        raise ValueError("there is no seed; give some, such as seeds=(0,)")
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2, for a variance, but is {repeats}")
