"""The posterior of the VQ-VAE: each position takes the code nearest to the encoder's output."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vae.distributions import CodePoint
from pyro_vae.repetition import is_repetition

from .quantizer import Quantizer, check_codebook, rotated, straight_through, sum_and_mean

__all__ = ["NearestCode", "SimVQ"]

_LAPLACE = 1e-5  # added to each count, so that no code is divided by zero


class Nearest(Quantizer):
    """What chooses the nearest of `codes` at each position, and says how far it is.

    Args:
        num_codes: K.
        code_dim: D.
        rotation: Whether the gradient that reaches the encoder is turned and scaled as codes are
            to outputs, or passed on as it is.
    """

    def __init__(self, num_codes: int, code_dim: int, *, rotation: bool) -> None:
        check_codebook(num_codes, code_dim)
        super().__init__(num_codes, code_dim)
        self.rotation = rotation

    @property
    def codes(self) -> Tensor:
        """The codes, (K, D)."""
        raise NotImplementedError

    def forward(self, h: Tensor) -> CodePoint:
        """Maps h (..., D, H, W) to the point at the nearest codes."""
        indices = self.indices(h)
        z = self.vectors(indices)
        penalties = self.penalties(h, z)
        through = rotated if self.rotation else straight_through
        point = CodePoint(self, through(z, h), penalties)
        self.observe(h, indices)
        return point

    def penalties(self, h: Tensor, z: Tensor) -> dict[str, Tensor]:
        """How far outputs h are from their codes z, both (..., D, H, W), by name, (...)."""
        found = {"commitment": sum_and_mean((h - z.detach()) ** 2)}
        if z.requires_grad:
            found["codebook"] = sum_and_mean((h.detach() - z) ** 2)
        return found

    def indices(self, z: Tensor) -> Tensor:
        """The number of the nearest code at each position: (..., D, H, W) to (..., H, W)."""
        with torch.no_grad():
            codes = self.codes
            rows = z.movedim(-3, -1)
            # |z - e|^2 less |z|^2, which is the same for all codes
            distances = torch.addmm((codes**2).sum(-1), rows.flatten(0, -2), codes.T, alpha=-2)
            return distances.argmin(-1).unflatten(0, rows.shape[:-1])

    def vectors(self, indices: Tensor) -> Tensor:
        """The codes of given numbers: (..., H, W) to (..., D, H, W)."""
        return F.embedding(indices, self.codes).movedim(-1, -3)

    def observe(self, h: Tensor, indices: Tensor) -> None:
        """Sees what was chosen, as a codebook that follows the encoder needs."""


class NearestCode(Nearest):
    """Each position takes the nearest of K learned codes: q(z | x) is the point there.

    By default a code moves to the moving average of the outputs that chose it. With
    `decay=None` it is a parameter that the penalty "codebook", (sg[h] - e)^2, draws to them. The
    penalty "commitment", (h - sg[e])^2, keeps the encoder near its codes; both are summed over the
    channels, averaged over positions, and weighed by the estimator:

        Trace_ELBO(factors={"commitment": 0.25})

    A code that is hardly chosen starts again at an output of the batch, as most do at the first
    step. In training, averages advance once a step; in evaluation nothing moves.

    Args:
        num_codes: K.
        code_dim: D, the channels of z.
        decay: Of the moving averages, from 0 to 1; None learns codes by gradient.
        restart_below: A code restarts once fewer positions a batch choose it, on average over some
            1 / (1 - decay) batches, and at once if the batch after its start does not choose it; 0
            never restarts one.
        rotation: Whether the encoder's gradient is turned and scaled as codes are to outputs
            (Fifty et al., 2024), instead of passed on as it is.

    Raises:
        ValueError: If a size is below 1, or decay or restart_below is out of its range.

    Reference:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937, equations 2 and 3, appendix A.1
    """

    count: Tensor
    total: Tensor

    def __init__(
        self,
        num_codes: int = 512,
        code_dim: int = 64,
        *,
        decay: float | None = 0.99,
        restart_below: float = 0.1,
        rotation: bool = False,
    ) -> None:
        super().__init__(num_codes, code_dim, rotation=rotation)
        if decay is not None and not 0 <= decay < 1:
            raise ValueError(f"decay must be from 0 to below 1, or None, but is {decay}")
        if not 0 <= restart_below <= 1:
            raise ValueError(f"restart_below must be from 0 to 1, but is {restart_below}")
        self.decay, self.restart_below = decay, restart_below
        codes = torch.randn(num_codes, code_dim) / code_dim**0.5
        if decay is None:
            self.codebook = nn.Parameter(codes)
        else:
            self.register_buffer("codebook", codes)
            self.register_buffer("total", torch.zeros(num_codes, code_dim))
        self.register_buffer("count", torch.zeros(num_codes))

    @property
    def codes(self) -> Tensor:
        """The codes, (K, D)."""
        return self.codebook

    def observe(self, h: Tensor, indices: Tensor) -> None:
        """Advances the averages of what each code was chosen for, once a training step."""
        if not self.training or is_repetition():
            return
        with torch.no_grad():
            rows, chosen = h.detach().movedim(-3, -1).flatten(0, -2), indices.flatten()
            ones = torch.ones_like(rows[:, 0])
            number = torch.zeros_like(self.count).index_add(0, chosen, ones)
            decay = 0.99 if self.decay is None else self.decay
            count = torch.lerp(number, self.count, decay)
            idle = count < self.restart_below
            fresh = rows[torch.randint(len(rows), (self.num_codes,), device=rows.device)]
            # Just enough to stay if the next batch chooses it; else it starts again at once.
            self.count.copy_(torch.where(idle, self.restart_below, count))
            if self.decay is None:
                self.codebook.copy_(torch.where(idle[:, None], fresh, self.codebook))
                return
            total = torch.zeros_like(self.total).index_add(0, chosen, rows)
            total = torch.lerp(total, self.total, decay)
            total = torch.where(idle[:, None], self.restart_below * fresh, total)
            self.total.copy_(total)
            all_counts = self.count.sum()
            share = (self.count + _LAPLACE) / (all_counts + self.num_codes * _LAPLACE)
            means = total / (share * all_counts)[:, None]
            seen = self.count[:, None] > 0
            self.codebook.copy_(torch.where(seen, means, self.codebook))


class SimVQ(Nearest):
    """Codes are one learned linear map of fixed random vectors, so that all of them move together.

    No code is left behind, and none needs to restart. The penalties are those of `NearestCode`
    with `decay=None`.

    Args:
        num_codes: K.
        code_dim: D, the channels of z.
        rotation: As for `NearestCode`.

    Reference:
        Zhu et al., 2024, https://arxiv.org/abs/2411.02038
    """

    frozen: Tensor

    def __init__(self, num_codes: int = 512, code_dim: int = 64, *, rotation: bool = False) -> None:
        super().__init__(num_codes, code_dim, rotation=rotation)
        self.register_buffer("frozen", torch.randn(num_codes, code_dim) / code_dim**0.5)
        self.map = nn.Linear(code_dim, code_dim, bias=False)

    @property
    def codes(self) -> Tensor:
        """The codes, (K, D)."""
        return self.map(self.frozen)
