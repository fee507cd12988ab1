"""Thirty labelled rows of four numbers, for files of users, and whether data are these rows."""

import numpy as np
import torch

X = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
Y = np.arange(30) % 3


def in_order(data):
    """All items and labels of the three splits, by the first column."""
    parts = (data.train, data.valid, data.test)
    x = torch.cat([part.x for part in parts])
    order = x[:, 0].argsort()
    y = None if data.train.y is None else torch.cat([part.y for part in parts])[order].numpy()
    return x[order].numpy(), y


def assert_same(data, x=X, y=Y):
    found, labels = in_order(data)
    order = x[:, 0].argsort()
    np.testing.assert_allclose(found, x[order], rtol=1e-6)
    assert y is None if labels is None else labels.tolist() == y[order].tolist()
