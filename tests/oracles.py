"""Programs so small that an expectation over K draws of the guide is a sum over a grid.

Each datum has its own copy of each parameter, so that one backward pass gives as many independent
draws of a gradient as there are data.
"""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch

X = 1.3


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


class Oracle:
    """A program for data that are all X, and the grid of its guide's draws."""

    theta: dict[str, float]
    phi: dict[str, float]

    def __init__(self, *shape):
        self.parameters = {
            name: torch.full(shape, value, dtype=torch.float64, requires_grad=True)
            for name, value in {**self.theta, **self.phi}.items()
        }
        vars(self).update(self.parameters)
        self.x = torch.full(shape, X, dtype=torch.float64)

    def gradients(self, objective):
        """The gradient of what goes up, by parameter."""
        found = torch.autograd.grad(
            objective, list(self.parameters.values()), allow_unused=True, retain_graph=True
        )
        pairs = zip(self.parameters, found, strict=True)
        return {n: torch.zeros_like(self.x) if g is None else g for n, g in pairs}


def exact(oracle, bound, num_particles):
    """E[bound(log w_1 ... log w_K)], with its gradient, for an oracle of shape ()."""
    log_p, log_q, weights = oracle.grid()
    draws = torch.cartesian_prod(*[torch.arange(len(log_p))] * num_particles)
    draws = draws.reshape(-1, num_particles).mT  # (K, all K-tuples of grid points)
    return (weights[draws].prod(0) * bound((log_p - log_q)[draws])).sum()


def exact_wake(oracle, num_particles):
    """E[sum_k v_k d log q(z_k | x) / dphi]: what the wake phase of the guide does, bias and all."""
    log_p, log_q, weights = (t.detach() for t in oracle.grid())
    draws = torch.cartesian_prod(*[torch.arange(len(log_p))] * num_particles)
    draws = draws.reshape(-1, num_particles).mT
    v = (log_p - log_q)[draws].softmax(0)
    score = oracle.log_q_at_grid()
    return (weights[draws].prod(0) * (v * score[draws]).sum(0)).sum()


def exact_inclusive(oracle):
    """E[log q(z | x)] under the posterior p(z | x): what the wake phase of the guide is after."""
    log_p, log_q, weights = (t.detach() for t in oracle.grid())
    posterior = weights * (log_p - log_q).exp()
    return (posterior / posterior.sum() * oracle.log_q_at_grid()).sum()


def quadrature(nodes):
    """Gauss-Hermite nodes and weights for N(0, 1)."""
    noise, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(nodes))
    return noise, weights / weights.sum()


def log_normal(x, loc, scale):
    scale = torch.as_tensor(scale, dtype=torch.float64)
    return -(((x - loc) / scale) ** 2) / 2 - scale.log() - 0.5 * math.log(2 * math.pi)


class OneLayer(Oracle):
    """z ~ N(mu, 1);  x ~ N(w z, sigma);  guide: z ~ N(c, s).  By Gauss-Hermite quadrature."""

    theta = {"mu": 0.2, "w": 0.8, "log_sigma": -0.2}
    phi = {"c": 0.3, "log_s": -0.1}
    nodes = 24

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.mu, 1.0))
            pyro.sample("x", dist.Normal(self.w * z, self.log_sigma.exp()), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.c, self.log_s.exp()))

    def grid(self):
        noise, weights = quadrature(self.nodes)
        z = self.c + self.log_s.exp() * noise
        log_p = log_normal(z, self.mu, 1.0) + log_normal(X, self.w * z, self.log_sigma.exp())
        return log_p, self._log_q(z), weights

    def log_q_at_grid(self):
        noise, _ = quadrature(self.nodes)
        return self._log_q((self.c + self.log_s.exp() * noise).detach())

    def log_evidence(self):
        scale = (self.w**2 + (2 * self.log_sigma).exp()).sqrt()
        return log_normal(X, self.w * self.mu, scale)

    def _log_q(self, z):
        return log_normal(z, self.c, self.log_s.exp())


class TwoLayers(Oracle):
    """z_1 ~ N(mu, 1);  z_2 ~ N(w z_1, 0.8);  x ~ N(z_2, sigma);  guide: z_1, then z_2 given z_1."""

    theta = {"mu": 0.2, "w": 0.8, "log_sigma": -0.2}
    phi = {"c_1": 0.3, "log_s_1": -0.1, "a": 0.3, "c_2": 0.6, "log_s_2": -0.3}
    nodes = 18

    def model(self, x):
        with pyro.plate("data", len(x)):
            z_1 = pyro.sample("z_1", dist.Normal(self.mu, 1.0))
            z_2 = pyro.sample("z_2", dist.Normal(self.w * z_1, 0.8))
            pyro.sample("x", dist.Normal(z_2, self.log_sigma.exp()), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z_1 = pyro.sample("z_1", dist.Normal(self.c_1, self.log_s_1.exp()))
            pyro.sample("z_2", dist.Normal(self.a * z_1 + self.c_2, self.log_s_2.exp()))

    def grid(self):
        z_1, z_2, weights = self._draws()
        log_p = log_normal(z_1, self.mu, 1.0) + log_normal(z_2, self.w * z_1, 0.8)
        log_p = log_p + log_normal(X, z_2, self.log_sigma.exp())
        return log_p, self._log_q(z_1, z_2), weights

    def log_q_at_grid(self):
        return self._log_q(*(z.detach() for z in self._draws()[:2]))

    def log_evidence(self):
        scale = (self.w**2 + 0.8**2 + (2 * self.log_sigma).exp()).sqrt()
        return log_normal(X, self.w * self.mu, scale)

    def _draws(self):
        noise, weights = quadrature(self.nodes)
        z_1 = (self.c_1 + self.log_s_1.exp() * noise).repeat_interleave(self.nodes)
        z_2 = self.a * z_1 + self.c_2 + self.log_s_2.exp() * noise.repeat(self.nodes)
        return z_1, z_2, (weights[:, None] * weights).flatten()

    def _log_q(self, z_1, z_2):
        second = log_normal(z_2, self.a * z_1 + self.c_2, self.log_s_2.exp())
        return log_normal(z_1, self.c_1, self.log_s_1.exp()) + second


class Discrete(Oracle):
    """z_1 and z_2 given z_1 are 0 or 1;  x ~ N(b + w_1 z_1 + w_2 z_2, 0.7).  By enumeration."""

    theta = {"p_1": -0.4, "p_2": 0.3, "r": 0.9, "b": -0.3, "w_1": 1.1, "w_2": 0.6}
    phi = {"q_1": 0.2, "q_2": -0.5, "s": 0.7}

    def model(self, x):
        with pyro.plate("data", len(x)):
            z_1 = pyro.sample("z_1", dist.Bernoulli(logits=self.p_1))
            z_2 = pyro.sample("z_2", dist.Bernoulli(logits=self.p_2 + self.r * z_1))
            pyro.sample("x", dist.Normal(self.b + self.w_1 * z_1 + self.w_2 * z_2, 0.7), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z_1 = pyro.sample("z_1", dist.Bernoulli(logits=self.q_1))
            pyro.sample("z_2", dist.Bernoulli(logits=self.q_2 + self.s * z_1))

    def grid(self):
        z_1, z_2 = double(0, 0, 1, 1), double(0, 1, 0, 1)
        log_p = self._log_choice(z_1, self.p_1)
        log_p = log_p + self._log_choice(z_2, self.p_2 + self.r * z_1)
        log_p = log_p + log_normal(X, self.b + self.w_1 * z_1 + self.w_2 * z_2, 0.7)
        return log_p, self.log_q_at_grid(), self.log_q_at_grid().exp()

    def log_q_at_grid(self):
        z_1, z_2 = double(0, 0, 1, 1), double(0, 1, 0, 1)
        second = self._log_choice(z_2, self.q_2 + self.s * z_1)
        return self._log_choice(z_1, self.q_1) + second

    def log_evidence(self):
        return self.grid()[0].logsumexp(0)

    def go_to_posterior(self):
        """Puts the guide at p(z | x)."""
        log_p = self.grid()[0].detach().unflatten(0, (2, 2))  # (z_1, z_2)
        logits = log_p[:, 1] - log_p[:, 0]
        with torch.no_grad():
            self.q_1.copy_(log_p.logsumexp(1).diff()[0])
            self.q_2.copy_(logits[0])
            self.s.copy_(logits[1] - logits[0])

    @staticmethod
    def _log_choice(z, logits):
        return z * logits - torch.nn.functional.softplus(logits)
