"""Few labels among many data, for semi-supervised learning: the argument `labels`.

The training items that are left without one get -1; validation and test items keep theirs.
"""

from dataclasses import replace

import torch

from .split import Split

__all__ = ["SHARE", "keep_labels", "share_labels"]

# The share of a batch that has labels where few of the data have: 7 unlabelled items for each
# labelled one, as in Sohn et al., 2020, https://arxiv.org/abs/2001.07685.
SHARE = 1 / 8


def keep_labels(train: Split, labels: int | None, source: str = "the data") -> Split:
    """Keeps so many labels, equally many of each class, by a fixed draw; None keeps all.

    An eighth of each batch has labels then.

    Args:
        train: The training part.
        labels: How many labels to keep.
        source: What names the data in the sentence of an error.

    Raises:
        ValueError: If there are no classes, or the labels cannot be shared out equally among them.
    """
    if labels is None:
        return train
    if train.y is None or train.y.is_floating_point():
        found = "no labels" if train.y is None else "conditions, not classes"
        raise ValueError(
            f"{source}: labels={labels} keeps so many labels, but there are {found}; leave it out"
        )
    classes, counts = train.y[train.y >= 0].unique(return_counts=True)
    most = len(classes) * int(counts.min())
    if labels % len(classes) or not 0 < labels <= most:
        raise ValueError(
            f"labels is {labels}, but must be a multiple of the {len(classes)} classes, from "
            f"{len(classes)} to {most}; leave it out to keep all labels"
        )
    if labels == len(train):
        return train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    each = labels // len(classes)
    kept = torch.cat([order[train.y[order] == y][:each] for y in classes])
    few = torch.full_like(train.y, -1)
    few[kept] = train.y[kept]
    return replace(train, y=few, labelled=SHARE)


def share_labels(train: Split) -> Split:
    """Gives each batch its share of labels where fewer of the data than that have one."""
    if train.y is None or train.y.is_floating_point() or train.labelled:
        return train
    known = int((train.y >= 0).sum())
    return replace(train, labelled=SHARE) if 0 < known < SHARE * len(train) else train
