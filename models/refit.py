"""A second stage: a trained program with another prior."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vae.arguments import order_of_arguments, takes_labels
from pyro_vae.datasets import DataSource, Split, Tensors
from pyro_vae.distributions import CodePoint
from pyro_vae.factors import is_training_factor
from pyro_vae.frozen import freeze
from pyro_vae.wiring import Parts, attach

__all__ = ["Refit"]

_MOST_BYTES = 2**30  # of what the first stage says of the data, kept while the prior trains


class Refit(PyroModule):
    """A trained program with another prior, and all but that prior frozen.

        z ~ new p(z);  x ~ p(x | z) and the guide as they were trained

    Its ELBO is that of the program with the new prior, and its gradient that of E_q[log p(z)]: the
    prior is fitted to where the guide puts the data (the aggregate posterior). So a VQ-VAE gets a
    prior of its codes, and a VAE a flow or a mixture that leaves no holes between its latents.

        pyro-vae train "Refit(load('runs/vq'), prior=PixelCNNPrior())" --data mnist

    The first stage stays in evaluation mode. Where the data are the same in each epoch, `fit` runs
    it once; then neither encoder nor decoder runs while the prior trains.

    A prior of classes, such as `TransformerPrior(num_classes=10)`, makes it a conditional program,
    whose model and guide take labels, too: z ~ p(z | y). Its bound is one on log p(x | y).

    Args:
        program: The trained program, which has a part `prior`, such as `VAE` or `VQVAE`. All of it
            is frozen.
        prior: The new prior.

    Raises:
        ValueError: If the program has no prior, or the new one does not fit its latents.

    Reference:
        van den Oord et al., 2017, https://arxiv.org/abs/1711.00937, section 3.3; for VAEs: Dai and
        Wipf, 2019, https://arxiv.org/abs/1903.05789
    """

    program: Any

    def __init__(self, program: Any, *, prior: nn.Module) -> None:
        super().__init__()
        old: Any = getattr(program, "prior", None)
        has_prior = isinstance(program, nn.Module) and isinstance(old, nn.Module)
        if not has_prior:
            of_file = isinstance(getattr(program, "functions", None), dict)
            what = "a file of functions" if of_file else type(program).__name__
            raise ValueError(
                f"Refit gives another prior to a trained program that has one, such as VAE or "
                f"VQVAE, but {what} has no part named prior; write the program as a class whose "
                "model draws z ~ self.prior()"
            )
        if hasattr(old, "latent_dim"):
            prior = Parts(program).prior(prior, type(old), old.latent_dim)
        freeze(program)
        if hasattr(program, "encoder") and hasattr(program, "posterior"):
            attach(prior, program.encoder, program.posterior)
        self.sees_y = getattr(prior, "num_classes", 0) > 0
        # The first stage keeps its prior: a shallow copy shares all its other parts.
        self.program = copy.copy(program)
        given = _GivenClass(prior) if self.sees_y else prior
        self.program._modules = {**program._modules, "prior": given}

    @property
    def functions(self) -> dict[str, Any]:
        """The functions that take the arguments: the program's model and guide, by their names."""
        if self.sees_y and not takes_labels(self.program):
            return {"model": _of_labelled_data, "guide": _of_labelled_data}
        return {"model": self.program.model, "guide": self.program.guide}

    @pyro_method
    def model(self, *args: Any, **kwargs: Any) -> Any:
        """Samples p(x, z), with the arguments of the program's model, and y for a prior of it."""
        args, y = self._split(args)
        given = self.program.prior.at(y) if self.sees_y else nullcontext()
        with given, poutine.block(hide_fn=is_training_factor):
            return self.program.model(*args, **kwargs)

    @pyro_method
    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """Samples q(z | x), with the arguments of `model`, and trains nothing of it."""
        args, _ = self._split(args)
        with poutine.block(hide_fn=is_training_factor):
            return self.program.guide(*args, **kwargs)

    def train(self, mode: bool = True) -> "Refit":
        """Puts the prior into training mode; all else stays in evaluation mode."""
        super().train(mode)
        self.program.prior.train(mode)  # which the frozen program does not pass on
        return self

    def on_latents(self, data: Split) -> "tuple[PriorOnLatents, DataSource] | None":
        """What `fit` trains in place of the program: the prior, on what the first stage says once.

        Args:
            data: The data of the training.

        Returns:
            A program with the same prior and the same ELBO, and its data. None where the data
            differ from epoch to epoch, where the program is more than z ~ p(z), x ~ p(x | z) with a
            guide z ~ q(z | encoder(x)), where the prior sees classes that the data lack, or where
            more than 1 GB would be kept.

        Raises:
            ValueError: If labels of the data are no classes of the prior.
        """
        y = data.y if self.sees_y else None
        if y is not None and hasattr(self._prior, "check_classes"):
            self._prior.check_classes(y)  # captured steps look at no labels
        lacks = self.sees_y and y is None
        if data.draw is not None or data.labelled or lacks or len(data) == 0:
            return None
        if not self._is_plain(data.x[:2], None if y is None else y[:2]):
            return None
        program, like = self.program, next(self.parameters())
        kept, log_px = [], []
        with torch.no_grad():
            for (batch,) in data.batches(500):
                x = batch.to(like)
                h = program.encoder(x)
                q = program.posterior(h)
                z = q.sample()
                kept.append(program.posterior.indices(z) if isinstance(q, CodePoint) else h)
                log_px.append(program.likelihood(program.decoder(z)).log_prob(x))
                if kept[0].nbytes // len(kept[0]) * len(data) > _MOST_BYTES:
                    return None
        labels = {} if y is None else {"y": y}
        alone = PriorOnLatents(self._prior, program.posterior, isinstance(q, CodePoint))
        return alone, Tensors(x=torch.cat(kept), log_px=torch.cat(log_px), **labels)

    def _is_plain(self, x: Tensor, y: Tensor | None) -> bool:
        """Whether the program's parts say of some data what its model and guide say."""
        program, like = self.program, next(self.parameters())
        names = ("encoder", "posterior", "decoder", "likelihood")
        if not all(isinstance(getattr(program, name, None), nn.Module) for name in names):
            return False
        if len(inspect.signature(program.model).parameters) != 1:
            return False
        x = x.to(like)
        args = (x,) if y is None else (x, y.to(like.device))
        with torch.no_grad(), torch.random.fork_rng():
            guide = poutine.trace(self.guide).get_trace(*args)
            model = poutine.trace(poutine.replay(self.model, guide)).get_trace(*args)
            if [s for s in model.stochastic_nodes if s not in ("data", "z")]:
                return False
            z = guide.nodes["z"]["value"]
            q = program.posterior(program.encoder(x))
            p_x = program.likelihood(program.decoder(z))
            sites = {"z": (guide, q, z), "x": (model, p_x, x)}
            return all(
                name in trace.nodes
                and torch.allclose(trace.nodes[name]["fn"].log_prob(v), d.log_prob(v))
                for name, (trace, d, v) in sites.items()
            )

    @property
    def _prior(self) -> Any:
        return self.program.prior.prior if self.sees_y else self.program.prior

    def _split(self, args: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
        """The arguments of the program, and the classes for the prior if it sees some."""
        if not self.sees_y:
            return args, None
        if takes_labels(self.program):
            return args, args[order_of_arguments(self.program, labels=True).index(1)]
        return args[:-1], args[-1]


class _GivenClass(nn.Module):
    """A prior p(z | y), at the classes of the present data, where a program asks for p(z)."""

    def __init__(self, prior: nn.Module) -> None:
        super().__init__()
        self.prior = prior
        self._y: Tensor | None = None

    @contextmanager
    def at(self, y: Tensor) -> Iterator[None]:
        """Lets a model that runs inside see these classes."""
        self._y = y
        try:
            yield
        finally:
            self._y = None

    def forward(self) -> dist.TorchDistribution:
        """Returns p(z | y)."""
        return self.prior(self._y)


def _of_labelled_data(x: Tensor, y: Tensor) -> None:
    """The signature of model and guide, where y is the prior's alone."""


class PriorOnLatents(PyroModule):
    """A prior on what a first stage says of the data: z ~ p(z | y), with log p(x | z) as a number.

    Args:
        prior: The prior.
        posterior: The first stage's.
        of_codes: Whether the data are the numbers of codes, and not what the encoder gives. Then
            nothing is drawn, and the loss is that of the program to the last digits.
    """

    prior: Any

    def __init__(self, prior: nn.Module, posterior: Any, of_codes: bool) -> None:
        super().__init__()
        self.prior, self.of_codes = prior, of_codes
        self._posterior = (posterior,)  # a tuple, which a module does not look into

    @pyro_method
    def model(self, x: Tensor, log_px: Tensor, y: Tensor | None = None) -> None:
        """Samples z, for codes or outputs x of the encoder, and log p(x | z) (N,)."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.prior() if y is None else self.prior(y))
            pyro.factor("x", log_px)

    @pyro_method
    def guide(self, x: Tensor, log_px: Tensor, y: Tensor | None = None) -> None:
        """Samples q(z | x)."""
        (posterior,) = self._posterior
        with pyro.plate("data", len(x)):
            q = CodePoint(posterior, posterior.vectors(x)) if self.of_codes else posterior(x)
            pyro.sample("z", q)
