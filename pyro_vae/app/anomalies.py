"""What the command `anomalies` finds: scores, their order, a threshold, and a ROC curve."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae import plots
from pyro_vae.batches import first
from pyro_vae.datasets import Dataset, Split
from pyro_vae.inference import ROC, anomaly_scores, roc
from pyro_vae.program import Program

from . import figures
from .writing import write_whole

__all__ = ["Found", "check_quantile", "find", "save_ranking", "save_roc"]

_OF_TRAINING = 2_000  # data of which typicality takes the mean


@dataclass(frozen=True)
class Found:
    """The scores of data, and what they are held against.

    Args:
        kind: Which score it is.
        scores: Of the data, (N,).
        labels: Of the data, what each is called, or nothing.
        threshold: The quantile of the scores of validation data.
        quantile: Which quantile.
        num_valid: How many validation data there are.
        roc: How well the scores tell anomalies from usual data, if the labels say which is which.
    """

    kind: str
    scores: Tensor
    labels: list[str]
    threshold: float
    quantile: float
    num_valid: int
    roc: ROC | None

    @property
    def order(self) -> Tensor:
        """The rows of the data, the strangest first."""
        return self.scores.argsort(descending=True, stable=True)

    @property
    def sentences(self) -> list[str]:
        """What was found, in words."""
        above = int((self.scores > self.threshold).sum())
        said = [
            f"threshold {self.threshold:.6g}, the {self.quantile:g} quantile of {self.kind} of "
            f"{self.num_valid:,} validation data: {above:,} of {len(self.scores):,} data are "
            f"above it, {above / len(self.scores):.1%}"
        ]
        return said if self.roc is None else [*said, str(self.roc)]


def check_quantile(quantile: float) -> None:
    """Refuses what is no share of the validation data."""
    if not 0 < quantile < 1:
        raise ValueError(f"--quantile is {quantile:g}, but must be between 0 and 1, such as 0.95")


def find(
    program: Program,
    judged: Split,
    dataset: Dataset,
    own: Dataset,
    *,
    kind: str,
    anomalous: Sequence[str],
    quantile: float,
    num_particles: int,
    limit: int | None,
) -> Found:
    """Scores data, and validation data beside them.

    Args:
        program: The trained program.
        judged: The data.
        dataset: What they are a part of.
        own: What the program was trained on.
        kind: As of `anomaly_scores`.
        anomalous: The labels that make a datum an anomaly.
        quantile: Of the scores of the validation data, for the threshold.
        num_particles: As of `anomaly_scores`.
        limit: The most validation data.

    Raises:
        ValueError: If there are no such labels, or as `anomaly_scores` and `roc`.
    """
    is_anomaly = _anomalies(judged, dataset, anomalous)
    train = first(own.train, _OF_TRAINING) if kind == "typicality" else None
    options: dict[str, Any] = {"kind": kind, "train": train, "num_particles": num_particles}
    scores = anomaly_scores(program, judged, **options).cpu()
    valid = own.valid if limit is None else first(own.valid, limit)
    usual = anomaly_scores(program, valid, **options).cpu()
    names = [] if judged.y is None or judged.y.is_floating_point() else judged.y.tolist()
    known = slice(None) if judged.y is None else (judged.y.cpu() >= 0)
    return Found(
        kind,
        scores,
        [dataset.label_name(number) for number in names],
        threshold=torch.quantile(usual.double(), quantile).item(),
        quantile=quantile,
        num_valid=len(usual),
        roc=None if is_anomaly is None else roc(scores[known], is_anomaly[known]),
    )


def _anomalies(judged: Split, dataset: Dataset, anomalous: Sequence[str]) -> Tensor | None:
    """Which data are anomalies, (N,); None if no labels make them some."""
    if not anomalous:
        return None
    if judged.y is None or judged.y.is_floating_point():
        found = "no labels" if judged.y is None else "conditions for labels, and no classes"
        raise ValueError(
            f"{dataset.name} has {found}, so that none of its data is known to be an anomaly; "
            "leave --anomalous out, or give --data with labels"
        )
    numbers = [dataset.label_number(label) for label in anomalous]
    return torch.isin(judged.y.cpu(), torch.tensor(numbers))


def save_ranking(found: Found, path: Path) -> Path:
    """Writes a table of all data, the strangest first: index, score, and label if there is one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "score", *(["label"] if found.labels else [])])
    for row in found.order.tolist():
        label = [found.labels[row]] if found.labels else []
        writer.writerow([row, f"{found.scores[row].item():.8g}", *label])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.getvalue().encode())
    return path


def save_roc(found: Found, path: Path) -> Path | None:
    """Draws the ROC curve, if there is one."""
    if found.roc is None:
        return None
    figure = plots.roc_curve(
        found.roc.false_positive_rate,
        found.roc.true_positive_rate,
        label=f"{found.kind}, AUROC {found.roc.auroc:.3f}",
        title="what a threshold on the score finds",
    )
    return figures.save(figure, path)
