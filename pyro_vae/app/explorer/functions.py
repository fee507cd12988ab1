"""What a page asks of a program, as pure functions: decode, encode and the log density.

Each runs the model or the guide under an effect handler that puts inputs in the place of draws.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites, site_is_subsample
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.blame import on_data
from pyro_vae.factors import is_training_factor
from pyro_vae.inference.evaluation import another, data_sites
from pyro_vae.inference.terms import (
    differing,
    estimated_sites,
    sample_sites,
    trace_guide,
    trace_model,
)
from pyro_vae.program import Program, evaluating

from .graph import Graph, traced
from .noise import drawn, mean_and_deviation, shown

__all__ = ["Example", "Function", "decode", "encode", "latents_of", "log_joint"]


@dataclass(frozen=True)
class Example:
    """One datum of those that a program is for, on which its functions are traced.

    Args:
        x: The datum, (1, *x_shape), of the type that the program takes.
        y: Its label, (1,) or (1, *y_shape), for a program `model(x, y)`.
    """

    x: Tensor
    y: Tensor | None = None

    def with_tensors(self, x: Tensor | None, y: Tensor | None) -> "Example":
        """With other numbers, in the types of these."""
        return Example(
            self.x if x is None else x.to(self.x.dtype),
            self.y if y is None or self.y is None else y.to(self.y.dtype),
        )

    def inputs(self, *, x: bool = True) -> dict[str, Tensor]:
        """The example's numbers as a page gives them, in float32."""
        given = {"x": self.x} if x else {}
        given |= {} if self.y is None else {"y": self.y}
        return {name: value.float() for name, value in given.items()}


@dataclass(frozen=True)
class Function:
    """A pure function of named tensors.

    Args:
        call: Takes the inputs by name and returns the outputs.
        inputs: Examples of them, in float32, of a batch of one.
        outputs: The names of what it returns.
        defaults: What stands in for inputs that are left out.
    """

    call: Callable[..., tuple[Tensor, ...]]
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    defaults: Mapping[str, float] = field(default_factory=dict)

    def traced(self) -> Graph:
        """The function as instructions; see `graph.traced`."""
        return traced(
            self.call, self.inputs, self.outputs, defaults=self.defaults, others=[self.others()]
        )

    def others(self) -> dict[str, Tensor]:
        """Other inputs, drawn at random around the examples; data and labels are the same."""
        return {name: self._other(name) for name in self.inputs}

    def __call__(self, **inputs: Tensor) -> dict[str, Tensor]:
        """The outputs by name, for inputs of which those with a default may be left out."""
        given = {
            name: inputs.get(name, torch.full_like(example, self.defaults.get(name, torch.nan)))
            for name, example in self.inputs.items()
        }
        return dict(zip(self.outputs, self.call(**given), strict=True))

    def _other(self, name: str) -> Tensor:
        example = self.inputs[name]
        stays = name in ("x", "y") or name.startswith(("keep_", "temperature_"))
        return example if stays else example + torch.randn_like(example) / 2


def latents_of(program: Program, example: Example) -> dict[str, Tensor]:
    """A draw of each latent of a datum from the guide, by name, in the order of the model."""
    return {name: site["value"] for name, site in _model_sites(program, example).items()}


def decode(program: Program, example: Example) -> Function:
    """From the latents to the mean of the data, and the latents themselves.

    A latent whose distribution in the model depends on those before it has four inputs: its value
    `z_1`; `keep_z_1`, 1 to take that, 0 to draw it; `noise_z_1`, the standard deviations by which
    the draw is off its mean; `temperature_z_1`, by which they are multiplied. Left out, they give
    its mean. Outputs are `picture`, and for each such latent `z_1` and `noise_z_1`, where it is.

    Raises:
        ValueError: If the data depend on each other given the latents, so that they would have to
            be drawn one by one; as `inference.evaluation.decode`.
    """
    with evaluating(program), pyro.validation_enabled(False):
        parts, is_sequential = data_sites(program, example.x, example.y)
        if is_sequential:
            raise ValueError(
                "the decoder draws each number of x given those before it, and a page shows means "
                "alone; look at samples"
            )
        sites = _model_sites(program, example)
        lower = _conditional(program, example, sites)
        given = _given(program, example)
    order = torch.cat([part.index.flatten() for part in parts]).argsort()
    in_order = bool((order.diff() == 1).all())
    inputs = {name: site["value"].float() for name, site in sites.items()}
    defaults: dict[str, float] = {}
    for name in lower:
        inputs |= {f"keep_{name}": torch.zeros(1), f"noise_{name}": torch.randn_like(inputs[name])}
        inputs |= {f"temperature_{name}": torch.full((1,), 0.7)}
        defaults |= {name: 0.0, f"keep_{name}": 0.0, f"noise_{name}": 0.0}
        defaults |= {f"temperature_{name}": 1.0}
    dtypes = {name: site["value"].dtype for name, site in sites.items()}

    def call(**tensors: Tensor) -> tuple[Tensor, ...]:
        at = example.with_tensors(None, tensors.get("y"))
        handler = _Placing(tensors, dtypes, lower, given)
        trace = _trace(program, program.model, at, handler)
        found = [p.fit(shown(trace.nodes[p.name]["fn"])).float().flatten() for p in parts]
        numbers = found[0] if len(found) == 1 else torch.cat(found)
        picture = (numbers if in_order else numbers[order]).reshape(at.x.shape)
        below = [t for name in lower for t in (handler.values[name], handler.noise[name])]
        return picture, *(t.float() for t in below)

    names = [n for name in lower for n in (name, f"noise_{name}")]
    return Function(
        _quietly(program, call),
        {**inputs, **example.inputs(x=False)},
        ("picture", *names),
        defaults,
    )


def encode(program: Program, example: Example) -> Function:
    """From a datum to its latents: `mean_z`, `sd_z` where q has them, and `z`, a draw.

    The draw is made from the input `noise_z`, by default 0, standard deviations off the mean; a
    discrete latent is the most probable. In a hierarchy each is given the draws before it.

    Raises:
        ValueError: If the guide draws what cannot be made from such noise.
    """
    with evaluating(program), pyro.validation_enabled(False):
        sites = _guide_sites(program, example)
        handler = _Inferring({})
        _trace(program, program.guide, example, handler)
    noise = {f"noise_{n}": torch.randn(shape) for n, shape in handler.shapes.items()}
    known = [name for name in sites if handler.moments[name] is not None]

    def call(**tensors: Tensor) -> tuple[Tensor, ...]:
        at = example.with_tensors(tensors["x"], tensors.get("y"))
        inferring = _Inferring(tensors)
        _trace(program, program.guide, at, inferring)
        found = [
            moment.expand(sites[name]["value"].shape)
            for name in known
            for moment in inferring.moments[name] or ()
        ]
        return tuple(t.float() for t in (*found, *(inferring.values[name] for name in sites)))

    outputs = [f"{which}_{name}" for name in known for which in ("mean", "sd")]
    return Function(
        _quietly(program, call),
        {**example.inputs(), **noise},
        (*outputs, *sites),
        dict.fromkeys(noise, 0.0),
    )


def log_joint(program: Program, example: Example) -> Function:
    """From a datum and its latents to `log_p`, log p(x, z), and `log_pz`, log p(z), in nats.

    Raises:
        ValueError: If the program knows a bound on its density alone.
    """
    with evaluating(program), pyro.validation_enabled(False):
        sites = _model_sites(program, example)
        given = _given(program, example)
        trace = _trace(program, program.model, example, _Placing({}, {}, (), given))
    estimated = estimated_sites(trace)
    if estimated:
        raise ValueError(
            f"the density of {estimated} is an estimate of a bound, so that there is no true "
            "posterior to compute from it"
        )
    dtypes = {name: site["value"].dtype for name, site in sites.items()}

    def call(**tensors: Tensor) -> tuple[Tensor, ...]:
        at = example.with_tensors(tensors["x"], tensors.get("y"))
        trace = _trace(program, program.model, at, _Placing(tensors, dtypes, (), given))
        trace.compute_log_prob(lambda name, site: not is_training_factor(site))
        total = log_pz = torch.zeros(())
        for site in sample_sites(trace):
            if is_training_factor(site) or site["name"] in given:
                continue
            total = total + site["log_prob_sum"]
            if site["name"] in sites:
                log_pz = log_pz + site["log_prob_sum"]
        return total.float(), log_pz.float()

    latents = {name: site["value"].float() for name, site in sites.items()}
    return Function(_quietly(program, call), {**example.inputs(), **latents}, ("log_p", "log_pz"))


class _Placing(Messenger):
    """Puts inputs in the place of a model's latents.

    Args:
        tensors: The inputs, by name.
        dtypes: The types of the latents.
        lower: The latents that are drawn from noise, unless they are to be kept.
        given: Values of what is the same for all data.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        dtypes: Mapping[str, torch.dtype],
        lower: Sequence[str],
        given: Mapping[str, Tensor],
    ) -> None:
        super().__init__()
        self.tensors, self.dtypes, self.lower, self.given = tensors, dtypes, lower, given
        self.values: dict[str, Tensor] = {}
        self.noise: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if msg["is_observed"] or site_is_subsample(msg):
            return
        if name in self.given:
            msg["value"], msg["done"] = self.given[name], True
        elif name == "y" and name in self.tensors:
            msg["value"], msg["done"] = _label(self.tensors[name], msg["fn"]), True
        elif name in self.tensors:
            value = self.tensors[name].to(self.dtypes[name])
            if name in self.lower:
                value = self._drawn(name, value, msg["fn"])
            msg["value"], msg["done"] = value, True

    def _drawn(self, name: str, value: Tensor, fn: Any) -> Tensor:
        moments = mean_and_deviation(fn)
        if moments is None:
            raise ValueError(f"the prior of latent {name!r} has no mean and standard deviation")
        mean, deviation = moments
        keep, temperature = self.tensors[f"keep_{name}"], self.tensors[f"temperature_{name}"]
        drawn = mean + temperature * deviation * self.tensors[f"noise_{name}"]
        kept = torch.where(keep > 0, value, drawn.to(value.dtype))
        self.values[name] = kept
        self.noise[name] = (kept - mean) / deviation
        return kept


class _Inferring(Messenger):
    """Draws a guide's latents from given noise, and notes their means and deviations."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.tensors = tensors
        self.moments: dict[str, tuple[Tensor, Tensor] | None] = {}
        self.values: dict[str, Tensor] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        name, fn = msg["name"], msg["fn"]
        noise = self.tensors.get(f"noise_{name}", torch.zeros(()))
        value, shape = drawn(name, fn, noise)
        if shape is not None:
            self.shapes[name] = shape
        self.moments[name] = mean_and_deviation(fn)
        self.values[name] = value
        msg["value"], msg["done"] = value, True


def _label(y: Tensor, fn: Any) -> Tensor:
    """A label as the site of it has it: a class, or one-hot."""
    if tuple(y.shape) == tuple(fn.shape()):
        return y
    classes = torch.arange(fn.event_shape[-1], device=y.device)
    return (y.unsqueeze(-1) == classes).to(torch.get_default_dtype())


def _trace(program: Program, function: Any, example: Example, handler: Messenger) -> Any:
    """A trace of the model or the guide, under a handler."""
    args = arguments(program, example.x, example.y)
    with handler, on_data(example.x.shape[1:]):
        return prune_subsample_sites(poutine.trace(function).get_trace(*args))


def _quietly(
    program: Program, call: Callable[..., tuple[Tensor, ...]]
) -> Callable[..., tuple[Tensor, ...]]:
    """A function run in evaluation mode, and without Pyro's checks, which read numbers."""

    def quiet(**tensors: Tensor) -> tuple[Tensor, ...]:
        with evaluating(program), pyro.validation_enabled(False):
            return call(**tensors)

    return quiet


def _model_sites(program: Program, example: Example) -> dict[str, dict[str, Any]]:
    """The latents of a datum that are its own, with draws of the guide, as the model has them."""
    args = arguments(program, example.x, example.y)
    with evaluating(program), pyro.validation_enabled(False):
        drawn = trace_guide(program.guide, args, {})
        trace = trace_model(program.model, drawn, args, {})
        return {s["name"]: s for s in _latents(trace) if _is_own(s, example)}


def _is_own(site: Mapping[str, Any], example: Example) -> bool:
    """Whether a site is a latent of each datum, and no label that is given."""
    is_label = site["name"] == "y" and example.y is not None
    return bool(site["cond_indep_stack"]) and not is_label


def _guide_sites(program: Program, example: Example) -> dict[str, dict[str, Any]]:
    trace = trace_guide(program.guide, arguments(program, example.x, example.y), {})
    return {
        s["name"]: s
        for s in _latents(trace)
        if _is_own(s, example) and not s["infer"].get("is_auxiliary")
    }


def _given(program: Program, example: Example) -> dict[str, Tensor]:
    """Values of what is the same for all data, such as a decoder's weights: the guide's means."""
    trace = trace_guide(program.guide, arguments(program, example.x, example.y), {})
    found = {}
    for site in _latents(trace):
        if not site["cond_indep_stack"]:
            moments = mean_and_deviation(site["fn"])
            found[site["name"]] = site["value"] if moments is None else moments[0]
    return found


def _latents(trace: Any) -> list[dict[str, Any]]:
    sites = sample_sites(prune_subsample_sites(trace))
    return [site for site in sites if not site["is_observed"]]


def _conditional(
    program: Program, example: Example, sites: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """The latents whose distribution in the model changes with other latents."""
    others = _model_sites(program, Example(another(example.x), example.y))
    return tuple(
        name
        for name, site in sites.items()
        if mean_and_deviation(site["fn"]) is not None
        and differing(site["fn"], others[name]["fn"], site["value"]).any()
    )
