"""A density by denoising in steps (Ho et al., 2020, https://arxiv.org/abs/2006.11239)."""

import math
from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.sampling import diffusion_steps

from .estimated_density import EstimatedDensity

__all__ = ["DenoisingChain", "DiffusionDistribution"]

# Of noised z in one call of the network, where all steps are summed: at 16 numbers a z, these calls
# take half the time of those with 2^20, whose layers leave the cache.
_MOST_NUMBERS = 2**16


class DenoisingChain(nn.Module):
    """Noising in T steps, which is fixed, and denoising, which is learned.

        q(z_t | z_0)     = N(sqrt(signal_t) z_0, noise_t I),    signal_t = 1 - noise_t
        p(z_T)           = N(0, I)
        p(z_t-1 | z_t)   = N(sqrt(alpha_t) z_t - beta_t sqrt(signal_t-1 / noise_t) v(z_t, t),
                             beta_t exp(log_ratio_t) I)

    with alpha_t = signal_t / signal_t-1 and beta_t = 1 - alpha_t. The network v estimates
    sqrt(signal_t) e - sqrt(noise_t) z_0 from z_t = sqrt(signal_t) z_0 + sqrt(noise_t) e. Where v
    and log_ratio are 0 each step undoes the noising of N(0, I), and the chain is N(0, I)
    throughout. Steps are numbered from 1; tensors of all steps have index t - 1.

    Args:
        network: Maps z_t (..., *shape) and log signal_t / noise_t (..., 1) to (..., *shape).
        noise: The noise's share of the variance after each step, growing, (T,).
        shape: Of one z.

    Reference:
        Ho et al., 2020, https://arxiv.org/abs/2006.11239, equations 1 to 7; v: Salimans and Ho,
        2022, https://arxiv.org/abs/2202.00512, appendix D; learned variances: Nichol and Dhariwal,
        2021, https://arxiv.org/abs/2102.09672
    """

    signal: Tensor
    noise: Tensor
    alpha: Tensor
    beta: Tensor
    signal_before: Tensor
    noise_before: Tensor
    log_snr: Tensor

    def __init__(self, network: nn.Module, noise: Tensor, shape: Sequence[int]) -> None:
        super().__init__()
        self.network, self.shape = network, torch.Size(shape)
        noise = noise.double()
        noise_before = torch.cat([noise.new_zeros(1), noise[:-1]])
        signal, signal_before = 1 - noise, 1 - noise_before
        values = {
            "signal": signal,
            "noise": noise,
            "alpha": signal / signal_before,
            "beta": (noise - noise_before) / signal_before,
            "signal_before": signal_before,
            "noise_before": noise_before,
            "log_snr": (signal / noise).log(),
        }
        for name, value in values.items():
            value = value.to(torch.get_default_dtype())
            self.register_buffer(name, value, persistent=False)
        self.log_ratio = nn.Parameter(torch.zeros_like(self.beta))

    def __len__(self) -> int:
        """The number of steps, T."""
        return len(self.beta)

    def last(self) -> dist.TorchDistribution:
        """p(z_T) = N(0, I)."""
        return self._normal(self.beta.new_zeros(self.shape), self.beta.new_ones(()))

    def denoised(self, z_t: Tensor, t: int) -> dist.TorchDistribution:
        """p(z_t-1 | z_t), learned."""
        i = t - 1
        v = self.v(z_t, self.log_snr[i])
        slope = self.beta[i] * (self.signal_before[i] / self.noise[i]).sqrt()
        variance = self.beta[i] * self.log_ratio[i].exp()
        return self._normal(self.alpha[i].sqrt() * z_t - slope * v, variance)

    def noised(self, z_0: Tensor, t: int) -> dist.TorchDistribution:
        """q(z_t | z_0), fixed."""
        return self._normal(self.signal[t - 1].sqrt() * z_0, self.noise[t - 1])

    def between(self, z_0: Tensor, z_t: Tensor, t: int) -> dist.TorchDistribution:
        """q(z_t-1 | z_t, z_0), fixed, for t > 1."""
        i = t - 1
        of_z_0 = self.signal_before[i].sqrt() * self.beta[i] / self.noise[i]
        of_z_t = self.alpha[i].sqrt() * self.noise_before[i] / self.noise[i]
        variance = self.beta[i] * self.noise_before[i] / self.noise[i]
        return self._normal(of_z_0 * z_0 + of_z_t * z_t, variance)

    def v(self, z_t: Tensor, log_snr: Tensor) -> Tensor:
        """The network's estimate for z_t (..., *shape) and log_snr (...), or one for all."""
        batch_shape = z_t.shape[: z_t.dim() - len(self.shape)]
        return self.network(z_t, log_snr.expand(batch_shape).unsqueeze(-1))

    def skip(self, z_t: Tensor, t: int, to: int) -> Tensor:
        """What z_t becomes at step `to`, 0 included, without fresh noise.

        Reference:
            Song et al., 2021, https://arxiv.org/abs/2010.02502, equation 12 with sigma = 0
        """
        signal, noise = self.signal[t - 1].sqrt(), self.noise[t - 1].sqrt()
        v = self.v(z_t, self.log_snr[t - 1])
        z_0, e = signal * z_t - noise * v, noise * z_t + signal * v
        return z_0 if to == 0 else self.signal[to - 1].sqrt() * z_0 + self.noise[to - 1].sqrt() * e

    def _normal(self, loc: Tensor, variance: Tensor) -> dist.TorchDistribution:
        return dist.Normal(loc, variance.sqrt()).to_event(len(self.shape))


class DiffusionDistribution(EstimatedDensity):
    """p(z_0) of a `DenoisingChain`, by an unbiased estimate of its bound.

        B(z) = log N(z; 0, I) - sum_t { d / 2 (c_t expm1(-r_t) + r_t)
                 + w_t E[exp(-r_t) |v_t - v|^2 - |v_t|^2] }  <=  log p(z)
        v_t = sqrt(signal_t) e - sqrt(noise_t) z,    v = network(z_t, t),    r_t = log_ratio_t
        w_t = beta_t signal_t-1 / (2 noise_t),       c_t = noise_t-1 / noise_t

    This is -L_0 - ... - L_T of Ho et al., with the N(0, I) that the chain starts as taken out. All
    that does not depend on the network, such as E|v_t|^2 = signal_t d + noise_t |z|^2, is in closed
    form, so that the estimate has no variance where the network is 0.

    Args:
        chain: The chain.
        drawn_steps: How many t stand for the sum at each z, spread evenly: each drawn nine times in
            ten in proportion to w_t, else from all alike, and stratified over the batch. None sums
            over all t.

    Reference:
        Ho et al., 2020, https://arxiv.org/abs/2006.11239, equations 5 and 8
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, chain: DenoisingChain, *, drawn_steps: int | None) -> None:
        self.chain, self.drawn_steps = chain, drawn_steps
        super().__init__(torch.Size(), chain.shape)

    @property
    def support(self) -> Any:
        """All of R^shape."""
        return constraints.independent(constraints.real, self.event_dim)

    def log_prob(self, value: Tensor) -> Tensor:
        """An estimate of B(z) for z (..., *shape), (...)."""
        if self._validate_args:
            self._validate_sample(value)
        z = value.reshape(-1, *self.event_shape)
        estimate = self._without_network(z)
        number = self.drawn_steps
        estimate = estimate - (self._all_steps(z) if number is None else self._some(z, number))
        return estimate.reshape(value.shape[: value.dim() - self.event_dim])

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, *shape): by all steps, or by those that `sampling` asks for."""
        chain, steps = self.chain, diffusion_steps(len(self.chain))
        with torch.no_grad():
            z = chain.last().sample(torch.Size(sample_shape))
            if steps is None:
                for t in range(len(chain), 0, -1):
                    z = chain.denoised(z, t).sample()
                return z
            places = torch.linspace(len(chain), 0, steps + 1).round().int().tolist()
            for t, to in zip(places[:-1], places[1:], strict=True):
                z = chain.skip(z, t, to)
            return z

    def _without_network(self, z: Tensor) -> Tensor:
        """B(z) of z (M, *shape) if the network were 0, (M,)."""
        chain, r = self.chain, self.chain.log_ratio
        d, squares = self.event_shape.numel(), z.flatten(1).square().sum(1, keepdim=True)  # (M, 1)
        normal = -(squares.squeeze(1) + d * math.log(2 * math.pi)) / 2
        change = torch.expm1(-r)
        of_variances = d / 2 * (chain.noise_before / chain.noise * change + r).sum()
        v_squared = chain.signal * d + chain.noise * squares  # (M, T)
        return normal - of_variances - (self._weights() * change * v_squared).sum(1)

    def _some(self, z: Tensor, number: int) -> Tensor:
        """The network's part of the sum over t for z (M, *shape), by some t for each, (M,)."""
        weights = self._weights()
        # The error's size in v hardly hangs on t, so that this is near the least variance: 10 to
        # 20 % more of a standard deviation on trained chains. In proportion to w_t / signal_t, the
        # weight of the error in e, it would be ten times as much, nearly all draws the last step.
        share = 0.9 * weights / weights.sum() + 0.1 / len(weights)
        most = number * len(z)
        places = torch.arange(most, device=z.device, dtype=z.dtype).reshape(number, -1)
        u = (torch.rand((), device=z.device, dtype=z.dtype) + places / most) % 1
        t = torch.searchsorted(share.cumsum(0), u).clamp(max=len(share) - 1)  # (number, M)
        of_each = (weights * torch.exp(-self.chain.log_ratio) / share)[t]
        return (of_each * self._excess(z.expand(number, *z.shape), t)).mean(0)

    def _all_steps(self, z: Tensor) -> Tensor:
        """The network's part of the sum over t for z (M, *shape), (M,)."""
        weights = self._weights() * torch.exp(-self.chain.log_ratio)
        most = max(_MOST_NUMBERS // max(z.numel(), 1), 1)
        total = z.new_zeros(len(z))
        for steps in torch.arange(len(weights), device=z.device).split(most):
            t = steps.unsqueeze(1).expand(-1, len(z))  # (steps, M)
            total = total + weights[steps] @ self._excess(z.expand(len(steps), *z.shape), t)
        return total

    def _excess(self, z: Tensor, t: Tensor) -> Tensor:
        """|v_t - v|^2 - |v_t|^2 at one e for z (..., *shape) and t - 1 (...), (...)."""
        chain, ones = self.chain, (1,) * self.event_dim
        signal, noise = (a[t].sqrt().reshape(*t.shape, *ones) for a in (chain.signal, chain.noise))
        e = torch.randn(z.shape, dtype=z.dtype, device=z.device)
        v = chain.v(signal * z + noise * e, chain.log_snr[t])
        return (v * (v - 2 * (signal * e - noise * z))).flatten(t.dim()).sum(-1)

    def _weights(self) -> Tensor:
        """w_t, (T,)."""
        chain = self.chain
        return chain.beta * chain.signal_before / (2 * chain.noise)
