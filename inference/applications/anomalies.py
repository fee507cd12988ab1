"""Scores of how strange data are to a trained program: higher for stranger data.

Each comes from what `evaluate` and `log_likelihood` give of a datum. None is best for all data: a
likelihood calls simple data usual, whatever they show, and a digit 1 is simple. Complexity,
variation, `likelihood_regret` and `typicality` are answers to that.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from pyro_vae.batches import Data
from pyro_vae.checks import check_sizes
from pyro_vae.inference.evaluation import Evaluation, each_once, evaluate_batches, log_likelihood
from pyro_vae.program import Program

from .complexity import compressed_size, total_variation
from .regret import likelihood_regret

__all__ = ["KINDS", "anomaly_scores", "likelihood_regret", "typicality"]


def anomaly_scores(
    program: Program,
    x: Data,
    y: Tensor | None = None,
    *,
    kind: str = "log_likelihood",
    train: Data | None = None,
    num_particles: int = 100,
    batch_size: int = 500,
) -> Tensor:
    """How strange each datum is to a program: the higher, the stranger.

    Args:
        program: The trained program.
        x: Data, (N, *x_shape), a `Split`, or a `DataSource`.
        y: The labels, if x is a tensor and the program is a `model(x, y)`.
        kind: Which score:

            - `"log_likelihood"`: -log p(x), by importance weights;
            - `"bound"`: minus the ELBO, the sum of the next two;
            - `"distortion"`: -E_q[log p(x | z)], how badly the datum is reconstructed;
            - `"rate"`: KL(q(z | x) || p(z)), how far its latents are from the prior;
            - `"complexity"`: -log p(x) less the nats that zlib takes for the datum, which are few
              where it is simple (Serrà et al., 2020, https://arxiv.org/abs/1909.11480); of data
              that are bits, grey levels from 0 to 1 or whole numbers;
            - `"variation"`: -log p(x) / (1 + total variation), the nats that a unit of the edges of
              an image takes;
            - `"regret"`: see `likelihood_regret`;
            - `"typicality"`: see `typicality`, which needs `train`.
        train: Data that are usual, such as some of those trained on; of a tensor x and a program
            `model(x, y)`, a `Split`.
        num_particles: Draws of the latents of each datum.
        batch_size: Data in one run of the program.

    Returns:
        The scores, (N,), in nats, but for variation.

    Raises:
        ValueError: If there is no such kind, if `train` is missing, or as `evaluate` and
            `log_likelihood`.

    Example:
        >>> vae, x = VAE((1, 8, 8), latent_dim=2), torch.zeros(5, 1, 8, 8)
        >>> anomaly_scores(vae, x, kind="distortion").shape
        torch.Size([5])
    """
    score = _score(kind, train)
    return score(program, x, y, num_particles=num_particles, batch_size=batch_size)


def typicality(
    program: Program,
    x: Data,
    y: Tensor | None = None,
    *,
    train: Data,
    num_particles: int = 100,
    batch_size: int = 500,
) -> Tensor:
    """| -log p(x) - mean of -log p over usual data |, (N,), by importance weights.

    A datum may be too unlikely, or likelier than nearly all usual ones: both are strange.

    Args:
        program: The trained program.
        x: Data, (N, *x_shape), a `Split`, or a `DataSource`.
        y: The labels, if x is a tensor and the program is a `model(x, y)`.
        train: The usual data; a thousand of those trained on are enough, as their mean is all that
            is needed.
        num_particles: Draws of the latents of each datum.
        batch_size: Data in one run of the program.

    Raises:
        ValueError: As `log_likelihood`.

    Reference:
        Nalisnick et al., 2019, https://arxiv.org/abs/1906.02994, of one datum at a time
    """
    options: dict[str, Any] = {"num_particles": num_particles, "batch_size": batch_size}
    usual = log_likelihood(program, train, **options).mean()
    return (log_likelihood(program, x, y=y, **options) - usual).abs()


Score = Callable[..., Tensor]


def _of_likelihood(program: Program, x: Data, y: Tensor | None, **options: Any) -> Tensor:
    return -log_likelihood(program, x, y=y, **options)


def _less_complexity(
    program: Program, x: Data, y: Tensor | None, *, num_particles: int, batch_size: int
) -> Tensor:
    size = compressed_size(program, x, y, batch_size=batch_size)
    options: dict[str, Any] = {"num_particles": num_particles, "batch_size": batch_size}
    scores = _of_likelihood(program, x, y, **options)
    return scores - size.to(scores)


def _of_edges(
    program: Program, x: Data, y: Tensor | None, *, num_particles: int, batch_size: int
) -> Tensor:
    edges = total_variation(program, x, y, batch_size=batch_size)
    options: dict[str, Any] = {"num_particles": num_particles, "batch_size": batch_size}
    scores = _of_likelihood(program, x, y, **options)
    return scores / (1 + edges.to(scores))  # 1, as an empty image has no edges


def _of_terms(
    term: Callable[[Evaluation], Tensor],
    program: Program,
    x: Data,
    y: Tensor | None,
    *,
    num_particles: int,
    batch_size: int,
) -> Tensor:
    check_sizes(num_particles=num_particles, batch_size=batch_size)
    batches = each_once(program, x, y, batch_size)
    return term(evaluate_batches(program, batches, num_particles))


_SCORES: Mapping[str, Score] = {
    "log_likelihood": _of_likelihood,
    "bound": partial(_of_terms, lambda terms: -terms.bound),
    "distortion": partial(_of_terms, lambda terms: terms.distortion),
    "rate": partial(_of_terms, lambda terms: terms.rate),
    "complexity": _less_complexity,
    "variation": _of_edges,
    "regret": likelihood_regret,
}
KINDS = (*_SCORES, "typicality")


def _score(kind: str, train: Data | None) -> Score:
    if kind == "typicality":
        if train is None:
            raise ValueError(
                "typicality is the distance to the mean of usual data, of which there are none; "
                "give some of the training data as train"
            )
        return partial(typicality, train=train)
    if kind not in _SCORES:
        raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, but is {kind!r}")
    return _SCORES[kind]
