"""How a program gets its parts: those that are given, if they fit each other, or the usual ones."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import nn
from torch.distributions import Distribution

from .networks import Joined
from .shapes import InShape, LatentDim, check_part, input_shapes, joined_shape, latent_shape

__all__ = [
    "Network",
    "Parts",
    "attach",
    "check_network",
    "of_each_layer",
    "units_of_each_layer",
]

# A network, or a function that builds it from in_shape and out_shape, such as the class MLP.
Network: TypeAlias = nn.Module | Callable[[Any, Sequence[int]], nn.Module]


class Parts:
    """Gives a program its parts: each the given one, or the default where None is given.

    A part that does not fit is refused, with the shape that it has and the shape that is needed. So
    the constructor of a program is the list of its parts:

        parts = Parts(self)
        self.prior = parts.prior(prior, StandardNormal, latent_dim)
        self.posterior = parts.posterior(posterior, DiagonalNormal, latent_dim)
        self.likelihood = parts.likelihood(likelihood, Bernoulli, x_shape)
        self.encoder = parts.network("encoder", encoder, MLP, x_shape, self.posterior.param_shape)

    Args:
        program: Whose parts they are; its name stands in the errors.
    """

    def __init__(self, program: nn.Module) -> None:
        self.owner = type(program).__name__
        self.num_tokens: int | None = None

    def prior(
        self,
        given: Any,
        default: Callable[[LatentDim], nn.Module],
        latent_dim: LatentDim,
        *,
        name: str = "prior",
    ) -> Any:
        """The prior of z: the given one, or the default, built from latent_dim."""
        part: Any = default(latent_dim) if given is None else given
        self._check_declares(name, part)
        found = latent_shape(getattr(part, "latent_dim", latent_dim))
        check_part(self.owner, f"{name}'s latent_dim", found, latent_shape(latent_dim))
        return part

    def posterior(
        self,
        given: Any,
        default: Callable[[LatentDim], nn.Module],
        latent_dim: LatentDim,
        *,
        name: str = "posterior",
    ) -> Any:
        """The posterior of z: the given one, or the default, built from latent_dim."""
        if given is not None:
            self._check_declares(name, given, "latent_dim", "param_shape")
        return self.prior(given, default, latent_dim, name=name)

    def quantizer(self, given: Any, default: Callable[[], nn.Module]) -> Any:
        """The posterior over grids of codes: the given one, or the default."""
        part: Any = default() if given is None else given
        if not hasattr(part, "num_codes"):
            self._check_declares("posterior", part)
            raise TypeError(
                f"the posterior of this {self.owner} is a {type(part).__name__}, but must choose "
                "among codes; give a quantizer, such as NearestCode(512, 64) or FSQ((8, 6, 5))"
            )
        self._check_declares("posterior", part, "param_dim", "code_dim")
        return part

    def likelihood(
        self,
        given: Any,
        default: Callable[[Sequence[int]], nn.Module],
        x_shape: Sequence[int],
        *,
        name: str = "likelihood",
    ) -> Any:
        """The likelihood of x: the given one, or the default, built from x_shape."""
        part: Any = default(x_shape) if given is None else given
        self._check_declares(name, part, "x_shape", "param_shape")
        check_part(self.owner, f"{name}'s x_shape", part.x_shape, x_shape)
        self.num_tokens = getattr(part, "num_tokens", None)
        return part

    def networks(
        self,
        role: str,
        given: Network | Sequence[Network],
        default: Network,
        in_shapes: Sequence[InShape],
        out_shapes: Sequence[Sequence[int]],
    ) -> Any:
        """A network for each layer, `role` 1, 2, ..., from one for all or a sequence of them."""
        networks = of_each_layer(f"{role}s", given, len(in_shapes))
        layers = zip(networks, in_shapes, out_shapes, strict=True)
        return nn.ModuleList(
            self.network(f"{role} {i}", network, default, in_shape, out_shape)
            for i, (network, in_shape, out_shape) in enumerate(layers, start=1)
        )

    def network(
        self,
        name: str,
        given: Network | None,
        default: Network,
        in_shape: InShape,
        out_shape: Sequence[int],
    ) -> nn.Module:
        """A network: the given one, or the default; either is a module or builds it.

        What builds a network is called with in_shape and out_shape, and with the num_tokens of a
        likelihood of tokens if it needs such a number. If in_shape is a tuple of shapes, a module
        that takes one input is given the several ones joined, by `Joined`.
        """
        network = default if given is None else given
        if not isinstance(network, nn.Module):
            network = network(in_shape, out_shape, **self._of_tokens(network))
        elif len(input_shapes(in_shape)) > 1 and _takes_one_input(network):
            joined = joined_shape(in_shape)
            check_network(self.owner, name, network, joined, out_shape, of=f"{in_shape} joined")
            return Joined(in_shape, out_shape, network=network)  # type: ignore[arg-type]
        check_network(self.owner, name, network, in_shape, out_shape)
        return network

    def _of_tokens(self, build: Callable[..., nn.Module]) -> dict[str, Any]:
        """The number of tokens, for what builds a network that needs it, if there are any."""
        needed = inspect.signature(build).parameters.get("num_tokens")
        if self.num_tokens is None or needed is None or needed.default is not needed.empty:
            return {}
        return {"num_tokens": self.num_tokens}

    def _check_declares(self, name: str, part: Any, *shapes: str) -> None:
        """Refuses a class, and a part without the shapes by which it is fitted to the others."""
        if isinstance(part, type):
            raise TypeError(
                f"the {name} of this {self.owner} is the class {part.__name__}; give one that is "
                f"built, such as {part.__name__}(...)"
            )
        if isinstance(part, Distribution):
            raise TypeError(
                f"the {name} of this {self.owner} is a distribution; give a module whose forward "
                "returns one, so that it follows the program to its device and may be learned"
            )
        for shape in shapes:
            if not hasattr(part, shape):
                says = f"a {name} says its {' and '.join(shapes)}, so set it in __init__"
                if shape == "latent_dim" and hasattr(part, "num_codes"):
                    says = "it chooses codes, which are latents of VQVAE"
                raise TypeError(
                    f"the {name} of this {self.owner} is a {type(part).__name__} without "
                    f"{shape}; {says}"
                )


def attach(prior: Any, encoder: nn.Module, posterior: nn.Module) -> None:
    """Shows a prior that is made of posteriors, such as `VampPrior`, its program's."""
    if hasattr(prior, "attach"):
        prior.attach(encoder, posterior)


def check_network(
    owner: str,
    name: str,
    network: Any,
    in_shape: InShape,
    out_shape: Sequence[int],
    *,
    of: str = "",
) -> None:
    """Refuses a network that declares another in_shape or out_shape than its owner needs.

    Args:
        owner: Whose network it is, for the sentence of an error.
        name: What it is to its owner, likewise.
        network: A network; one that declares no shapes is taken as it is.
        in_shape: The shape of one input, or of several.
        out_shape: The shape of one output.
        of: What the in_shape is made of, for the sentence of an error.
    """
    for kind, needed in (("in_shape", in_shape), ("out_shape", out_shape)):
        found, what = getattr(network, kind, needed), f"{name}'s {kind}"
        check_part(owner, what, found, needed, of=of if kind == "in_shape" else "")


def of_each_layer(name: str, parts: Any, depth: int) -> Sequence[Any]:
    """The parts of a program's layers, of which one that is no sequence is for all.

    Raises:
        ValueError: If there are more or fewer than `depth`.
    """
    each: Sequence[Any] = parts if isinstance(parts, Sequence) else [parts] * depth
    if len(each) != depth:
        raise ValueError(
            f"{name} has {len(each)} entries, but there are {depth} latent_dims; give one for each"
        )
    return each


def units_of_each_layer(hidden: Sequence[Any], depth: int) -> Sequence[Sequence[int]]:
    """The hidden units of a program's layers, of which one tuple of numbers is for all."""
    for_all = all(isinstance(units, int) for units in hidden)
    return of_each_layer("hidden", [hidden] * depth if for_all else hidden, depth)


def _takes_one_input(network: Any) -> bool:
    if hasattr(network, "in_shape"):
        return len(input_shapes(network.in_shape)) == 1
    parameters = inspect.signature(network.forward).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return len(needed) == 1 and needed[0].kind is not needed[0].VAR_POSITIONAL
