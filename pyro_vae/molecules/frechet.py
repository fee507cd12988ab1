"""The Frechet ChemNet distance (Preuer et al., 2018, https://arxiv.org/abs/1803.09518)."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from .packages import package
from .parsing import canonical

__all__ = ["chemnet", "frechet_chemnet_distance", "frechet_distance"]

_LENGTH = 350  # characters to which ChemNet's authors pad; another length gives other numbers
_BATCH = 128


def frechet_chemnet_distance(smiles: Sequence[str], others: Sequence[str]) -> float:
    """How far two sets of molecules are apart, by what ChemNet sees of them; 0 of alike ones.

    ChemNet predicts bioactivities. Its 512 activations below the last layer have a mean and a
    covariance in each set, and the distance is that of the two Normals. It falls with the number of
    molecules, which should be some 10,000 in both sets; compare it with that of two sets of data.

    Args:
        smiles: Texts; those that do not parse are left out.
        others: Likewise.

    Raises:
        ValueError: If a set has fewer than two molecules, or fcd is not installed.
    """
    return frechet_distance(chemnet(smiles), chemnet(others))


def chemnet(smiles: Sequence[str]) -> NDArray[np.float64]:
    """What ChemNet sees of the molecules that parse, (N, 512), in their canonical SMILES.

    The weights are those of the package fcd.
    """
    network, encode = package("fcd.fcd", "FCD"), package("fcd.utils", "FCD").get_one_hot
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # fcd leaves a folder to be collected
        model = network.load_ref_model()
    texts = [text for text in canonical(smiles) if text is not None]
    length = max(_LENGTH, 1 + max(map(len, texts), default=0))
    found = [np.empty((0, 512))]
    for start in range(0, len(texts), _BATCH):
        rows = np.stack([encode(text, pad_len=length) for text in texts[start : start + _BATCH]])
        x = torch.from_numpy(rows / rows.shape[-1]).float().transpose(1, 2)
        with torch.no_grad():
            found.append(model(x).double().numpy())
    return np.concatenate(found)


def frechet_distance(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The squared Frechet distance of the Normals with the means and covariances of two sets.

        |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2))

    Args:
        x: Numbers of each item, (N, D).
        y: Likewise, (M, D).

    Raises:
        ValueError: If a set has fewer than two items, which have no covariance.

    Reference:
        Dowson and Landau, 1982, https://doi.org/10.1016/0047-259X(82)90077-X
    """
    for rows in (x, y):
        if len(rows) < 2:
            raise ValueError(
                f"a set has {len(rows)} items, but a covariance needs two at least; give more"
            )
    # With C = A' A for the centred data A over sqrt(n - 1), the trace of (C_x C_y)^(1/2) is the sum
    # of the singular values of A_x A_y': no root of a product that is almost singular.
    a, b = (_factor((rows - rows.mean(0)) / np.sqrt(len(rows) - 1)) for rows in (x, y))
    common = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    apart = np.square(x.mean(0) - y.mean(0)).sum()
    return float(max(apart + np.square(a).sum() + np.square(b).sum() - 2 * common, 0.0))


def _factor(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """R of rows = Q R, for which R' R = rows' rows, of no more rows than columns."""
    return np.asarray(np.linalg.qr(rows, mode="r"))
