"""Whether parameters move the support of a guide's draws, where the score has no mean of zero.

    E_q[d log q(z; phi) / dphi] = 0

holds where the support of q is the same for all phi. It fails for a point at phi (`Delta`), and for
Uniform(phi - 1, phi + 1). Estimators that leave the score out, or weigh it, refuse such guides.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pyro.distributions import Delta, ExpandedDistribution, MaskedDistribution, MaskedMixture
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    Independent,
    IndependentTransform,
    MixtureSameFamily,
    PowerTransform,
    TransformedDistribution,
    constraints,
)

__all__ = ["check_support", "invertible", "is_point", "parameters_move"]


def check_support(guide: Mapping[str, Any], user: str) -> None:
    """Refuses distributions of guide sites, by name, whose support parameters move.

    Raises:
        ValueError: With a sentence that names the site and its user, an estimator.
    """
    for name, fn in guide.items():
        if parameters_move(fn):
            raise ValueError(
                f"{user} needs a guide whose draws have the same support whatever the parameters, "
                f"or its score has no mean of zero, but parameters move "
                f"{'the point' if is_point(fn) else 'the support'} of site {name!r}; use "
                "Trace_ELBO, or IWAE for several particles"
            )


def parameters_move(fn: Any) -> bool:
    """Whether what has a gradient moves the support of a distribution."""
    if isinstance(fn, Delta):
        return bool(fn.v.requires_grad or fn.log_density.requires_grad)
    if isinstance(fn, Independent | ExpandedDistribution | MaskedDistribution):
        return parameters_move(fn.base_dist)
    if isinstance(fn, MixtureSameFamily):
        return parameters_move(fn.component_distribution)
    if isinstance(fn, MaskedMixture):
        return parameters_move(fn.component0) or parameters_move(fn.component1)
    # Classes of their own, such as LogNormal, declare their support; the general one says "real"
    # of whatever AffineTransform makes.
    if getattr(type(fn), "support", None) is TransformedDistribution.support:
        transforms = list(_each(fn.transforms))
        return parameters_move(fn.base_dist) or _image_moves(_support(fn.base_dist), transforms)
    return _has_gradient(_support(fn))


@contextmanager
def invertible(sites: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Names, of sites whose density is asked for in turn, the one whose flow has no inverse."""
    try:
        yield
    except (KeyError, NotImplementedError) as error:  # which flows of Pyro and of torch raise
        site = next((site for site in sites if "log_prob" not in site), None)
        if site is None or not isinstance(_bare(site["fn"]), TransformedDistribution):
            raise
        raise ValueError(
            f"the flow of site {site['name']!r} has no inverse, so its density is not known where "
            "draws are held, without their gradient; use Trace_ELBO or IWAE, or a flow with an "
            "inverse"
        ) from error


def is_point(fn: Any) -> bool:
    """Whether all draws are one point."""
    return isinstance(_bare(fn), Delta)


def _bare(fn: Any) -> Any:
    while isinstance(fn, Independent | ExpandedDistribution | MaskedDistribution):
        fn = fn.base_dist
    return fn


def _support(fn: Any) -> Any:
    try:
        return fn.support
    except NotImplementedError:
        return constraints.real


def _image_moves(support: Any, transforms: Iterable[Any]) -> bool:
    """Whether parameters move a boundary of the image of a fixed set."""
    bounds = _bounds(support)
    for transform in transforms:
        ends = [_image(transform, bound) for bound in bounds]
        if any(end.requires_grad for end in ends) or _has_gradient(transform.codomain):
            return True
        numbers = [end.item() if end.dim() == 0 else math.nan for end in ends]
        bounds = [n for n in numbers if not math.isinf(n)] + _bounds(transform.codomain)
    return False


def _image(transform: Any, bound: float) -> Tensor:
    """Where a transform takes a boundary; it has a gradient if parameters move it there."""
    value = torch.tensor(bound, dtype=torch.float64)
    if bound in _bounds(transform.domain) and not _bounds(transform.codomain):
        return value.new_tensor(math.inf)  # said so because SigmoidTransform's inverse clamps
    if isinstance(transform, AffineTransform) and bound == 0:
        return torch.as_tensor(transform.loc)
    if isinstance(transform, PowerTransform) and bound in (0, 1):
        return value
    if transform.domain.event_dim or isinstance(transform, nn.Module):
        parts = list(vars(transform).values())
        parts += transform.parameters() if isinstance(transform, nn.Module) else []
        moves = any(isinstance(part, Tensor) and part.requires_grad for part in parts)
        return value.new_tensor(math.nan, requires_grad=moves)
    return transform(value)


def _bounds(constraint: Any) -> list[float]:
    """The finite boundaries of a set: NaN for one that is fixed but not a number."""
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if type(constraint) is type(constraints.real):
        return []
    names = ("lower_bound", "upper_bound")
    bounds = [getattr(constraint, name) for name in names if hasattr(constraint, name)]
    return [float(b) if torch.as_tensor(b).dim() == 0 else math.nan for b in bounds] or [math.nan]


def _each(transforms: Iterable[Any]) -> Iterator[Any]:
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            yield from _each(transform.parts)
        elif isinstance(transform, IndependentTransform):
            yield from _each([transform.base_transform])
        else:
            yield transform


def _has_gradient(constraint: Any) -> bool:
    """Whether a boundary of the set has a gradient."""
    parts = list(vars(constraint).values())
    parts += [item for part in parts if isinstance(part, list | tuple) for item in part]
    return any(
        (isinstance(part, Tensor) and part.requires_grad)
        or (isinstance(part, constraints.Constraint) and _has_gradient(part))
        for part in parts
    )
