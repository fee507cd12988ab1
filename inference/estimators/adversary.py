"""A discriminator as a part of an estimator: whom it sees, what it learns, what others learn of it.

It tells the data from what the model makes: the means of p(x | z), for z of the guide and of the
prior. It is a module of the estimator, so it is trained, saved and resumed with the program and is
no part of the program's densities. All learn in one step, from the gradient of one loss: of the
discriminator's own cost images are detached, of the program's the discriminator's parameters are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from typing import Any, NamedTuple

import torch
from pyro.infer import ELBO
from pyro.infer.util import is_validation_enabled
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.func import functional_call
from torch.nn.utils.parametrize import ParametrizationList

from pyro_vae.inference.terms import Terms, trace_prior, weighted
from pyro_vae.program import in_evaluation_mode

from .elbo import TraceMeanField_ELBO
from .factor_weights import Weight, check_not_negative, is_zero, number
from .gan_losses import GANLoss, Minimax

__all__: list[str] = []


class Costs(NamedTuple):
    """What each side pays for a batch, (N,): means over the images of a datum."""

    real: Tensor  # by the discriminator, for the data
    fake: Tensor  # by the discriminator, for the model's images, the mean over their kinds
    discriminator: Tensor  # by the discriminator in all
    generator: Tensor  # by the program, for all its images
    seen: tuple[Tensor, Tensor]  # features of data and of images made, (rows, ...)


@dataclass(frozen=True)
class WithAdversary(TraceMeanField_ELBO):
    """The fields and methods that adversarial estimators share; see `Adversarial` and `VAEGAN`."""

    _: KW_ONLY
    discriminator: nn.Module
    gan_loss: GANLoss = Minimax()
    reconstructions: bool = True
    prior_draws: bool = True
    r1: Weight = 0.0
    site: str = "x"

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if not isinstance(self.discriminator, nn.Module):
            raise TypeError(
                f"the discriminator of {name} is {self.discriminator!r:.80}, but must be a module "
                "that maps images to logits, such as Discriminator((1, 28, 28))"
            )
        if isinstance(self.gan_loss, type) or not hasattr(self.gan_loss, "generator"):
            raise TypeError(
                f"the gan_loss of {name} is {self.gan_loss!r:.80}, but must be one that is built: "
                "Minimax(), NonSaturating() or Hinge()"
            )
        if not (self.reconstructions or self.prior_draws):
            raise ValueError(
                f"the discriminator of {name} needs images of the program to tell from the data; "
                "leave reconstructions or prior_draws at True"
            )
        check_not_negative(f"r1 of {name}", self.r1)

    @property
    def compares_epochs(self) -> bool:
        """Never: as the discriminator learns, the objective changes, and the last epoch counts."""
        return False

    def reference(self, *, reparameterized: bool) -> ELBO | None:
        """None: the gradient is several players', and none has it of the value alone."""
        return None

    def check(self, t: Terms) -> None:
        """Refuses what `TraceMeanField_ELBO` refuses, and data that are no whole images."""
        super().check(t)
        if not is_validation_enabled():
            return  # graphs cannot look at data
        fn = self._site(t.parts[0].traces[0])["fn"]
        if fn.batch_shape.numel() != t.parts[0].log_px.numel():
            raise ValueError(
                f"{type(self).__name__} needs one image for each datum, but site {self.site!r} has "
                f"batch shape {tuple(fn.batch_shape)} for {t.log_px.shape[1]} data; declare the "
                "dimensions of an image by .to_event()"
            )
        self.check_takes("discriminator", self.discriminator, self.data(t))

    def check_takes(self, role: str, network: nn.Module, *given: Tensor) -> None:
        """Refuses a network that cannot take such images, one or two at once."""
        images = given[0]
        if not images.isfinite().all():
            raise ValueError(
                f"the {role} of {type(self).__name__} sees whole images, but some data at site "
                f"{self.site!r} are missing or not finite; train such data without it"
            )
        shape, kind = tuple(images.shape[1:]), type(network).__name__
        wanted = getattr(network, "in_shape", shape)
        wanted = wanted[0] if len(given) > 1 and wanted != shape else wanted
        try:
            found = None if wanted != shape else judged(network, *(x[:2] for x in given))
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"the {role} of {type(self).__name__}, a {kind}, cannot take images of shape "
                f"{shape}, as site {self.site!r} has: {str(error).strip().splitlines()[0]}"
            ) from error
        if found is None:
            raise ValueError(
                f"the {role} of {type(self).__name__}, a {kind}, takes images of shape {wanted}, "
                f"but those of site {self.site!r} have shape {shape}; build it with this shape"
            )
        if not found.dim() or len(found) != len(images[:2]):
            raise ValueError(
                f"the {role} of {type(self).__name__}, a {kind}, makes {tuple(found.shape)} of "
                f"{len(images[:2])} images, but must make a number, or a map of them, of each"
            )

    def data(self, t: Terms) -> Tensor:
        """The data, (N, *x_shape), which the model observes at the site."""
        part = t.parts[0]
        site = self._site(part.traces[0])
        x = site["value"].expand(*site["fn"].batch_shape, *site["fn"].event_shape)
        return x.reshape(-1, *site["fn"].event_shape)[: t.log_px.shape[1]].to(self._mean(site))

    def reconstructed(self, t: Terms) -> Tensor:
        """The means of p(x | z) at the guide's draws, (K N, *x_shape), particles first."""
        return torch.cat([self._mean(self._site(part.traces[0])) for part in t.parts])

    def parameters_of_images(self, t: Terms) -> list[Tensor]:
        """What the distributions of p(x | z) hold, such as location and scale, with a gradient."""
        fns = [self._site(part.traces[0])["fn"] for part in t.parts]
        held = {id(tensor): tensor for fn in fns for tensor in _tensors_of(fn)}
        return [tensor for tensor in held.values() if tensor.requires_grad]

    def made(self, t: Terms) -> list[Tensor]:
        """What the discriminator is to tell from the data, (K N, *x_shape) for each kind."""
        kinds = [self.reconstructed(t)] if self.reconstructions else []
        if self.prior_draws:
            # The prior learns from the KL alone, as one made of the encoder must.
            drawn = [trace_prior(part.functions[0], part.args, part.kwargs) for part in t.parts]
            kinds.append(torch.cat([self._mean(self._site(trace)) for trace in drawn]))
        return kinds

    def costs(
        self, x: Tensor, made: Sequence[Tensor], num_particles: int, layer: str | None = None
    ) -> Costs:
        """The costs of a batch, each with the gradient of who pays it alone.

        Args:
            x: The data, (N, *x_shape).
            made: Of each kind the images of the model, (K N, *x_shape).
            num_particles: K.
            layer: Whose features to note; their gradient is by the images made.
        """
        fakes = torch.cat(list(made))
        logit, seen_x = look(self.discriminator, x, layer)
        real = _mean_of_patches(self.gan_loss.real(logit))
        with power_iterations_off(self.discriminator):  # one a step, or each look has its own norm
            own, _ = look(self.discriminator, fakes.detach())
            others, seen = look(self.discriminator, fakes, layer, detached=True)
            penalty = self._penalty(x)
        fake, generator = (
            _mean_of_patches(cost(logit)).reshape(len(made), num_particles, -1).mean(1)
            for cost, logit in ((self.gan_loss.fake, own), (self.gan_loss.generator, others))
        )
        paid = real + fake.sum(0) + penalty
        return Costs(real, fake.mean(0), paid, generator.sum(0), (seen_x.detach(), seen))

    def _penalty(self, x: Tensor) -> Tensor | float:
        """R1 of each datum, (N,): r1 / 2 times the squared gradient of the logit by the image."""
        weight = number(self.r1)
        learning = [p for p in self.discriminator.parameters() if p.requires_grad]
        if is_zero(weight) or not learning:
            return 0.0
        # made to have a gradient by a parameter, since a leaf would be taken for one to train
        x = x.detach() + 0 * learning[0].sum()
        logit, _ = look(self.discriminator, x)
        (slope,) = torch.autograd.grad(_mean_of_patches(logit).sum(), x, create_graph=True)
        return weighted(weight, slope.square().flatten(1).sum(1) / 2)

    def _site(self, trace: Any) -> Mapping[str, Any]:
        site = trace.nodes.get(self.site)
        if site is None or site["type"] != "sample" or not site["is_observed"]:
            observed = [n for n, s in trace.nodes.items() if s["type"] == "sample"]
            raise ValueError(
                f"{type(self).__name__} shows its discriminator the data of site {self.site!r}, "
                f"but the model observes none of that name; its sites are {observed}; name the one "
                "of the images with site="
            )
        if isinstance(site["mask"], Tensor):
            raise ValueError(
                f"the discriminator of {type(self).__name__} sees whole images, but those of site "
                f"{self.site!r} are masked; train such data without it"
            )
        return site

    def _mean(self, site: Mapping[str, Any]) -> Tensor:
        """The means of a site's distribution, (K N, *x_shape)."""
        fn = site["fn"]
        try:
            mean = fn.mean
        except NotImplementedError as error:
            raise ValueError(
                f"{type(self).__name__} shows its discriminator the mean of site {self.site!r}, "
                f"but {type(fn).__name__} has none; take another likelihood"
            ) from error
        return mean.reshape(-1, *fn.event_shape)


def _tensors_of(fn: Any) -> Iterator[Tensor]:
    """The tensors that a distribution holds, and those of the ones that it is made of."""
    for value in vars(fn).values():
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Distribution):
            yield from _tensors_of(value)


def _mean_of_patches(values: Tensor) -> Tensor:
    """The mean over the patches of each image, of which most discriminators see one."""
    return values.reshape(len(values), -1).mean(1)


def look(
    network: nn.Module, images: Tensor, layer: str | None = None, *, detached: bool = False
) -> tuple[Tensor, Tensor]:
    """What a network makes of images, and the features of a layer; the former twice without one.

    Args:
        network: The network.
        images: (R, *x_shape).
        layer: The name of one of its modules, such as "layers.block_2".
        detached: Whether the parameters get no gradient; the images do in any case.
    """
    features: list[Tensor] = []
    hooked = network if layer is None else network.get_submodule(layer)
    hook = hooked.register_forward_hook(lambda *call: features.append(call[-1]))
    try:
        if not detached:
            return network(images), features[-1]
        values = {name: parameter.detach() for name, parameter in network.named_parameters()}
        return functional_call(network, values, (images,)), features[-1]
    finally:
        hook.remove()


@contextmanager
def power_iterations_off(network: nn.Module) -> Iterator[None]:
    """Leaves the singular vectors of spectral normalization as they are."""
    normed = [part for part in network.modules() if isinstance(part, ParametrizationList)]
    with in_evaluation_mode(normed):
        yield


@torch.no_grad()
def judged(network: nn.Module, *images: Tensor) -> Tensor:
    """What a network makes of images, its averages and random numbers left alone."""
    with in_evaluation_mode([network]), torch.random.fork_rng():
        return network(*images)
