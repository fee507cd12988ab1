"""Programs made from a seed: plates, scales, masks, factors, latents of several kinds, guides."""

import random
from contextlib import ExitStack, nullcontext

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import autoguide

SIZES = {"a": (3, -2), "b": (4, -1)}
AUTOGUIDES = ["AutoNormal", "AutoDelta", "AutoDiagonalNormal", "AutoMultivariateNormal"]
AUTOGUIDES += ["AutoLowRankMultivariateNormal", "AutoHierarchicalNormalMessenger"]
AUTOGUIDES += ["AutoNormalMessenger", "AutoStructured", "AutoIAFNormal", "AutoLaplaceApproximation"]


class Site:
    """What a site is: its plates, its kind, what it depends on, and the handlers around it."""

    def __init__(self, name, rng, earlier, kinds):
        self.name, self.kind = name, rng.choice(kinds)
        self.plates = rng.choice([(), ("a",), ("b",), ("a", "b")])
        inside = [s for s in earlier if set(s.plates) <= set(self.plates)]
        self.parents = [s.name for s in inside if rng.random() < 0.5]
        self.scale = rng.choice([None, None, None, 0.5, 2.0])
        self.mask = rng.choice([None, None, None, True, False, "tensor", "in the distribution"])
        self.has_auxiliary = rng.random() < 0.2

    def distribution(self, loc, log_scale):
        if self.kind == "bernoulli":
            return dist.Bernoulli(logits=loc)
        if self.kind == "lognormal":
            return dist.LogNormal(loc, log_scale.exp())
        if self.kind == "gamma":
            return dist.Gamma(2 + loc.square(), log_scale.exp())
        return dist.Normal(loc, log_scale.exp())


class RandomProgram:
    """A model and a guide, which keep their parameters in Pyro's store."""

    def __init__(self, seed):
        rng = random.Random(seed)
        real = ["normal", "normal", "lognormal", "gamma"]
        self.kind = rng.choice(["own", "own", "own", "auto"])
        self.is_real = self.kind == "auto" or rng.random() < 0.5
        kinds = real if self.is_real else [*real, "bernoulli"]
        self.latents, self.data = [], []
        for i in range(rng.randint(1, 4)):
            self.latents.append(Site(f"z_{i}", rng, self.latents, kinds))
        for i in range(rng.randint(1, 2)):
            self.data.append(Site(f"x_{i}", rng, self.latents, ["normal", "bernoulli"]))
        subsampled = self.kind == "own" and rng.random() < 0.3
        self.subsample = {n: rng.choice([None, 2]) if subsampled else None for n in SIZES}
        self.factor = rng.choice([None, None, (), ("b",)])
        self.num_particles = rng.choice([1, 1, 2, 3])
        self.vectorized = self.kind == "own" and rng.random() < 0.5
        handled = [site.scale or site.mask is not None for site in self.latents]
        self.has_handlers = any(handled)
        automatic = getattr(autoguide, rng.choice(AUTOGUIDES))
        self.guide = self._guide if self.kind == "own" else automatic(self.model)

    def _param(self, name):
        value = random.Random(name).uniform(-0.5, 0.5)
        return pyro.param(name, torch.tensor(value, dtype=torch.float64))

    def _plates(self):
        return {
            name: pyro.plate(name, size, subsample_size=self.subsample[name], dim=dim)
            for name, (size, dim) in SIZES.items()
        }

    def _sample(self, site, role, plates, values, obs=None):
        loc = self._param(f"{role}_{site.name}_loc")
        for parent in site.parents:
            loc = loc + self._param(f"{role}_{site.name}_{parent}") * values[parent].tanh()
        with ExitStack() as stack:
            for name in site.plates:
                stack.enter_context(plates[name])
            auxiliary = site.has_auxiliary and role == "q"
            if auxiliary:
                prior = dist.Normal(self._param(f"q_{site.name}_aux"), 0.7)
                loc = loc + pyro.sample(f"{site.name}_aux", prior, infer={"is_auxiliary": True})
            fn = site.distribution(loc, self._param(f"{role}_{site.name}_scale"))
            mask = site.mask
            if mask in ("tensor", "in the distribution"):
                mask = torch.arange(SIZES["b"][0])[: self.subsample["b"]] % 2 == 0
                mask = mask if "b" in site.plates else torch.tensor(True)
            if site.mask == "in the distribution":
                fn, mask = fn.mask(mask), None
            with poutine.mask(mask=mask) if mask is not None else nullcontext():
                with poutine.scale(scale=site.scale) if site.scale else nullcontext():
                    return pyro.sample(site.name, fn, obs=obs)

    def model(self):
        plates, values = self._plates(), {}
        for site in self.latents:
            values[site.name] = self._sample(site, "p", plates, values).double()
        if self.factor is not None:
            with plates["b"] if self.factor else nullcontext():
                pyro.factor("penalty", -self._param("penalty_w").square())
        pyro.deterministic("named", self._param("penalty_w"))
        for site in self.data:
            one = torch.ones((), dtype=torch.float64)
            sizes = {n: self.subsample[n] or SIZES[n][0] for n in site.plates}
            shape = [sizes.get(name, 1) for name in ("a", "b")]
            shape = shape if "a" in sizes else shape[1:] if "b" in sizes else []
            self._sample(site, "p", plates, values, obs=one.expand(shape))

    def _guide(self):
        plates, values = self._plates(), {}
        for site in self.latents:
            values[site.name] = self._sample(site, "q", plates, values).double()


def loss_and_gradients(estimator, program, seed=0):
    pyro.set_rng_seed(seed)
    loss = estimator.loss_and_grads(program.model, program.guide)
    named = dict(pyro.get_param_store().named_parameters())  # a parameter may have two names
    found = {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
    for parameter in named.values():
        parameter.grad = None
    return loss, found
