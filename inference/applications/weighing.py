"""Self-normalized importance sampling over particles that come chunk by chunk."""

import torch
from torch import Tensor

from pyro_vae.inference.terms import normalized

__all__ = ["Weighed"]


class Weighed:
    """Weighted means of what particles give for N data, and draws among them by their weights.

    No chunk is kept, so that the memory does not grow with the number of particles.

    Args:
        num_draws: M, how many particles to draw for each datum, independently, by sampling
            importance resampling.

    Attributes:
        mean: sum_k v_k f_k for weights v that sum up to 1, (N, S).
        draws: The values of the particles that are drawn, (M, N, D).
        log_sum: The log of the sum of the weights, (N,); -inf where all are zero.
        log_squares: The log of the sum of their squares, (N,).
    """

    mean: Tensor
    draws: Tensor
    log_sum: Tensor
    log_squares: Tensor

    def __init__(self, num_draws: int) -> None:
        self.num_draws, self.is_empty = num_draws, True

    def add(self, log_w: Tensor, averaged: Tensor, values: Tensor | None = None) -> None:
        """Adds a chunk of particles.

        Args:
            log_w: Log weights, (K, N).
            averaged: f, what is averaged, (K, N, S).
            values: What is drawn, (K, N, D); not needed where nothing is.
        """
        log_sum, log_squares = log_w.logsumexp(0), (2 * log_w).logsumexp(0)
        weights = normalized(log_w)
        mean = (weights.unsqueeze(-1) * averaged).sum(0)
        draws = averaged.new_empty(0, *averaged.shape[1:]) if values is None else values[:0]
        if values is not None and self.num_draws:
            draws = _some_of(values, weights, self.num_draws)
        if self.is_empty:
            self.log_sum, self.log_squares, self.is_empty = log_sum, log_squares, False
            self.mean, self.draws = mean, draws
            return
        self.log_sum = torch.logaddexp(self.log_sum, log_sum)
        self.log_squares = torch.logaddexp(self.log_squares, log_squares)
        share = (log_sum - self.log_sum).exp().nan_to_num()  # of the weight so far; 0 of nothing
        self.mean = torch.lerp(self.mean, mean, share.unsqueeze(-1))
        if len(draws):
            # A draw is of this chunk with the chunk's share, else it stays: so all weights count.
            anew = torch.rand(draws.shape[:2], device=share.device, dtype=share.dtype) < share
            self.draws = torch.where(anew.unsqueeze(-1), draws, self.draws)

    def effective_sample_size(self) -> Tensor:
        """(sum_k w_k)^2 / sum_k w_k^2, (N,), from 1 to K; 0 where all weights are zero."""
        return (2 * self.log_sum - self.log_squares).exp().nan_to_num()


def _some_of(values: Tensor, weights: Tensor, number: int) -> Tensor:
    """The values of particles drawn for each datum by weights (K, N): (number, N, D)."""
    none = (weights == 0).all(0)
    index = torch.where(none, 1.0, weights).mT.multinomial(number, replacement=True)  # (N, number)
    return values[index.mT, torch.arange(len(index), device=values.device)]
