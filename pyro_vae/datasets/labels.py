"""Few labels among many data, for semi-supervised learning: the argument `labels` of images.

The training images that are left without one get -1; validation and test images keep theirs.
"""

from dataclasses import replace

import torch

from .split import Split

__all__ = ["keep_labels"]


def keep_labels(train: Split, labels: int | None) -> Split:
    """Keeps so many labels, equally many of each class, by a fixed draw; None keeps all.

    An eighth of each batch has labels then, as in Sohn et al., 2020,
    https://arxiv.org/abs/2001.07685, with 7 unlabelled images for each labelled one.

    Raises:
        ValueError: If the labels cannot be shared out equally among the classes.
    """
    if labels is None or train.y is None:
        return train
    classes, counts = train.y.unique(return_counts=True)
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
    return replace(train, y=few, labelled=1 / 8)
