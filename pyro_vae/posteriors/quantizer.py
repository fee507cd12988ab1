"""What the posteriors over codes share."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.checks import check_sizes

_MOST_GIGABYTES = 16

__all__: list[str] = []  # no posterior by itself


class Quantizer(nn.Module):
    """q(z | h) over grids z (code_dim, H, W) of codes out of a finite set.

    A subclass has `forward`, `indices` and `vectors`. It works on grids of any height and width.

    Args:
        num_codes: K, the codes that each choice is made from.
        code_dim: D, the channels of z.
        choices: The choices at each position.
        param_dim: The channels of h, by default those of z.
    """

    def __init__(
        self, num_codes: int, code_dim: int, *, choices: int = 1, param_dim: int | None = None
    ) -> None:
        super().__init__()
        self.num_codes, self.code_dim, self.choices = num_codes, code_dim, choices
        self.param_dim = code_dim if param_dim is None else param_dim

    def forward(self, h: Tensor) -> Any:
        """Maps h (..., param_dim, H, W) to a distribution over grids (code_dim, H, W)."""
        raise NotImplementedError

    def indices(self, z: Tensor) -> Tensor:
        """The numbers of a grid's codes: (..., code_dim, H, W) to integers (..., rows, W).

        There are choices * H rows: the first choice of all positions, then the second.
        """
        raise NotImplementedError

    def vectors(self, indices: Tensor) -> Tensor:
        """The grid of the codes of given numbers: (..., rows, W) to (..., code_dim, H, W)."""
        raise NotImplementedError

    def log_num_grids(self, height: int, width: int) -> float:
        """The logarithm of the number of grids, in nats: the rate of a uniform prior."""
        return self.choices * height * width * math.log(self.num_codes)


def check_codebook(num_codes: int, code_dim: int) -> None:
    """Refuses sizes below one, and a codebook that no memory holds."""
    check_sizes(num_codes=num_codes, code_dim=code_dim)
    gigabytes = 4 * num_codes * code_dim / 2**30
    if gigabytes > _MOST_GIGABYTES:
        raise ValueError(
            f"{num_codes} codes of {code_dim} numbers take {gigabytes:,.0f} GB, but at most "
            f"{_MOST_GIGABYTES} are taken; give fewer codes, or FSQ, which stores none"
        )


def sum_and_mean(squares: Tensor) -> Tensor:
    """The sum over channels, the mean over positions: (..., D, H, W) to (...)."""
    return squares.sum(-3).mean((-2, -1))


def straight_through(codes: Tensor, h: Tensor) -> Tensor:
    """The codes, to the last bit, with the gradient of h.

    The difference is exactly 0, where h + (codes - h) would round.
    """
    return codes.detach() + (h - h.detach())


def rotated(codes: Tensor, h: Tensor) -> Tensor:
    """The codes, to the last bit, with the gradient of h turned and scaled onto them.

    Reference:
        Fifty et al., 2024, https://arxiv.org/abs/2410.06424, section 4.2
    """
    with torch.no_grad():
        tiny = torch.finfo(h.dtype).tiny
        h_norm, norm = (x.norm(dim=-3, keepdim=True).clamp(min=tiny) for x in (h, codes))
        e_hat, q_hat = h / h_norm, codes / norm
        r = e_hat + q_hat
        r = r / r.norm(dim=-3, keepdim=True).clamp(min=tiny)
        scale = norm / h_norm

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(-3, keepdim=True)

    turned = scale * (h - 2 * r * dot(r, h) + 2 * q_hat * dot(e_hat, h))
    return codes.detach() + (turned - turned.detach())
