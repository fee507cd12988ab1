"""How well scores tell anomalies from usual data: the ROC curve and the areas under curves."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ROC", "roc"]


@dataclass(frozen=True)
class ROC:
    """What a threshold on scores makes of usual data and of anomalies, for all thresholds.

    Args:
        false_positive_rate: The share of usual data above each threshold, rising from 0 to 1.
        true_positive_rate: The share of anomalies above it, from 0 to 1.
        auroc: The area under that curve: the probability that an anomaly has a higher score than a
            usual datum, of 1. 1/2 is a guess.
        error: The standard error of the area.
        average_precision: The mean, over anomalies, of the share of anomalies among the data that
            score no less. The share of anomalies among all data is a guess.
        num_anomalies: How many of the data are anomalies.
        num_data: How many data there are.

    Reference:
        Of the error: DeLong et al., 1988, https://doi.org/10.2307/2531595
    """

    false_positive_rate: Tensor
    true_positive_rate: Tensor
    auroc: float
    error: float
    average_precision: float
    num_anomalies: int
    num_data: int

    def __str__(self) -> str:
        return (
            f"AUROC {self.auroc:.4f} ± {self.error:.4f}, average precision "
            f"{self.average_precision:.4f}, of {self.num_anomalies:,} anomalies among "
            f"{self.num_data:,} data"
        )


def roc(scores: Tensor, is_anomaly: Tensor) -> ROC:
    """The ROC curve of scores that are higher for stranger data.

    Args:
        scores: (N,), finite.
        is_anomaly: Which of the data are anomalies, booleans (N,).

    Raises:
        ValueError: If the shapes differ, a score is not finite, or all data are of one kind.

    Example:
        >>> roc(torch.tensor([1.0, 3.0, 2.0, 4.0]), torch.tensor([False, False, True, True])).auroc
        0.75
    """
    scores, is_anomaly = scores.detach().double().cpu(), is_anomaly.bool().cpu()
    _check(scores, is_anomaly)
    from sklearn.metrics import average_precision_score, roc_curve

    usual, strange = scores[~is_anomaly], scores[is_anomaly]
    # The share of the others that each lies on the right side of, where a tie counts half.
    of_strange, of_usual = _share_below(strange, usual), 1 - _share_below(usual, strange)
    false, true, _ = roc_curve(is_anomaly.numpy(), scores.numpy())
    return ROC(
        torch.from_numpy(false),
        torch.from_numpy(true),
        auroc=of_strange.mean().item(),
        error=math.sqrt(_variance_of_mean(of_strange) + _variance_of_mean(of_usual)),
        average_precision=float(average_precision_score(is_anomaly.numpy(), scores.numpy())),
        num_anomalies=len(strange),
        num_data=len(scores),
    )


def _share_below(some: Tensor, others: Tensor) -> Tensor:
    """The share of the others that is below each of some, (len(some),)."""
    ordered = others.sort().values
    below = torch.searchsorted(ordered, some)
    return (below + torch.searchsorted(ordered, some, right=True)) / (2 * len(others))


def _variance_of_mean(values: Tensor) -> float:
    return values.var().item() / len(values) if len(values) > 1 else math.nan


def _check(scores: Tensor, is_anomaly: Tensor) -> None:
    if scores.dim() != 1 or scores.shape != is_anomaly.shape:
        raise ValueError(
            f"scores are {tuple(scores.shape)} and is_anomaly {tuple(is_anomaly.shape)}, but "
            "expected one score a datum, (N,), and as many booleans"
        )
    if not scores.isfinite().all():
        lost = int((~scores.isfinite()).sum())
        raise ValueError(
            f"{lost} of {len(scores)} scores are not finite, so they have no rank; look at these "
            "data, or take another kind of score"
        )
    if is_anomaly.all() or not is_anomaly.any():
        kind = "an anomaly" if len(scores) and is_anomaly.all() else "usual"
        raise ValueError(
            f"each of the {len(scores)} data is {kind}, but a ROC curve tells anomalies from usual "
            "data; give data of both kinds"
        )
