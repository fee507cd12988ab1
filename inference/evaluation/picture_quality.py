"""Numbers for how images look, where a bound on log p(x) says little of it.

None of them is a likelihood, and each is fooled by itself: noise is sharp, blurred copies of the
data are diverse. Read them together, beside the pictures and the same numbers of held-out data.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from pyro_vae.checks import check_positive
from pyro_vae.program import in_evaluation_mode

__all__ = ["diversity", "frechet_distance", "peak_snr", "sharpness"]

Features = Callable[[Tensor], Tensor]

_ROWS = 500  # of images at a time


def sharpness(images: Tensor) -> Tensor:
    """The variance of each image's Laplacian, (N,), over its inner pixels and channels.

    Each pixel's Laplacian is the sum of its four neighbours less four times the pixel. Blur takes
    it away; noise adds to it.

    Args:
        images: (N, ..., H, W), of at least 3 x 3 pixels.

    Reference:
        Pech-Pacheco et al., 2000, https://doi.org/10.1109/ICPR.2000.903548
    """
    if images.dim() < 3 or min(images.shape[-2:]) < 3:
        raise ValueError(
            "sharpness is of images (N, ..., height, width) of at least 3 x 3 pixels, but these "
            f"have shape {tuple(images.shape)}"
        )
    kernel = images.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    channels = images.reshape(-1, 1, *images.shape[-2:])
    laplacian = conv2d(channels, kernel.expand(1, 1, 3, 3)).reshape(len(images), -1)
    return laplacian.var(1, unbiased=False)


def peak_snr(images: Tensor, others: Tensor, *, peak: float = 1.0) -> Tensor:
    """The peak signal-to-noise ratio of each pair of images in decibels (PSNR), (N,).

        10 log10(peak^2 / mean |x - x'|^2)

    The mean is over all numbers of an image. Twice the error are 6 decibels less; of equal images
    it is infinite. It says how near reconstructions are, and nothing of samples.

    Args:
        images: (N, *x_shape).
        others: As many of the same shape, such as their reconstructions.
        peak: White less black.

    Raises:
        ValueError: If the shapes differ, or the peak is not positive.
    """
    if images.dim() < 2 or images.shape != others.shape:
        raise ValueError(
            f"peak_snr is of pairs of images (N, *x_shape), but got {tuple(images.shape)} and "
            f"{tuple(others.shape)}; give both the same shape"
        )
    check_positive(peak=peak)
    errors = (images.float() - others.float()).square().flatten(1).mean(1)
    return 10 * (peak**2 / errors).log10()


def frechet_distance(images: Tensor, others: Tensor, features: Features | None = None) -> float:
    """The Frechet distance of two sets of images, by mean m and covariance S of their features.

        |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2))

    With the features of a network called Inception it is the FID; those of a classifier that was
    trained on the same data serve small images better, and give other numbers. It is high by about
    1 / N for N images, so compare sets of the same size, of more images than features.

    Args:
        images: (N, *x_shape).
        others: (M, *x_shape).
        features: A network, or a function, from images to features (R, ...), which is run in
            evaluation mode; by default the pixels.

    Reference:
        Heusel et al., 2017, https://arxiv.org/abs/1706.08500, eq. 6
    """
    ours, theirs = (_features(x, features, "frechet_distance").double() for x in (images, others))
    between = (ours.mean(0) - theirs.mean(0)).square().sum()
    one, other = (torch.atleast_2d(x.T.cov()) for x in (ours, theirs))
    # tr (S_1 S_2)^(1/2) is the sum of these, also where few images make S singular, and exact then
    shared = torch.linalg.svdvals(_root(one) @ _root(other)).sum()
    return (between + one.trace() + other.trace() - 2 * shared).item()


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T


def diversity(images: Tensor, features: Features | None = None) -> float:
    """The mean distance of an image to the nearest other one: near 0 where samples collapse.

    It falls slowly as there are more of them, so compare it with as many data.

    Args:
        images: (N, *x_shape), two or more.
        features: As in `frechet_distance`; by default the distance is over pixels.
    """
    rows = _features(images, features, "diversity").double()
    nearest = []
    for start in range(0, len(rows), _ROWS):
        chunk = rows[start : start + _ROWS]
        # not by a product of matrices, whose rounding would keep copies apart
        distances = torch.cdist(chunk, rows, compute_mode="donot_use_mm_for_euclid_dist")
        own = torch.arange(len(chunk))
        distances[own, start + own] = torch.inf
        nearest.append(distances.amin(1))
    return torch.cat(nearest).mean().item()


@torch.no_grad()
def _features(images: Tensor, features: Features | None, user: str) -> Tensor:
    """The features of two images or more, (N, F)."""
    if images.dim() < 2 or len(images) < 2:
        raise ValueError(
            f"{user} is of two images or more, (N, *x_shape), but got shape {tuple(images.shape)}"
        )
    if features is None:
        return images.flatten(1)
    with in_evaluation_mode([features] if isinstance(features, nn.Module) else []):
        found = torch.cat([features(part).flatten(1) for part in images.split(_ROWS)])
    if len(found) != len(images):
        raise ValueError(
            f"the features of {user} are {len(found)} rows for {len(images)} images, but must be a "
            "row for each"
        )
    return found
