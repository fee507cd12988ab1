"""What a page holds: programs with their functions, data, and where the guides put these."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from pyro_vae.app.figures import levels

from .functions import decode, encode, log_joint
from .graph import Graph, Weights
from .latents import Latents, choice_of, latents_in, log_prior
from .numbers import stored
from .opened import OpenedRun
from .texts import text_program

__all__ = ["page_content"]

_MOST_DATA, _LEAST_DATA = 60, 8  # in the row of data
_NUMBERS_OF_DATA = 300_000  # of all of them together
_PAPER = 0.4  # of the levels: data that are darker on average are strokes on empty paper


def page_content(runs: Sequence[OpenedRun]) -> tuple[dict[str, Any], str]:
    """A page as JSON takes it, and the weights of all its functions in base64.

    Args:
        runs: The run that the page is of, and perhaps one to stand beside it.

    Raises:
        ValueError: If a program has no latents of numbers, cannot be exported, or has weights that
            are not finite; if two runs have latents of different shapes.
    """
    weights = Weights(bits=24)
    programs = [_program(run, weights) for run in runs]
    _check_beside(runs, programs)
    first, program = runs[0], programs[0]
    some = slice(_num_data(first.x))
    labels = None if first.labels is None else first.labels.tolist()
    texts = program["kind"] == "text"
    content = {
        "title": " and ".join(run.run.folder.name for run in runs),
        "programs": programs,
        "background": "data" if len(runs) > 1 else "pictures",
        "can_draw": _can_draw(first.x[some], program),
        "labels": labels,
        "classes": max(labels, default=0) + 1 if labels else 0,
        "data": {
            "labels": labels and labels[some],
            **({"texts": program.pop("data_texts")} if texts else {"x": stored(first.x[some])}),
        },
    }
    return content, weights.packed


def _num_data(x: Tensor) -> int:
    return max(_LEAST_DATA, min(_MOST_DATA, _NUMBERS_OF_DATA // x[0].numel()))


def _program(run: OpenedRun, weights: Weights) -> dict[str, Any]:
    """A program of a page, whose functions' weights go to those of the page."""
    config, results = run.run.config, run.run.results
    told = {
        "name": config.program.partition("(")[0].rpartition(":")[2],
        "text": config.program,
        "data_text": config.data,
        "bound": _bound(results) if results else None,
        "x_shape": list(run.x.shape[1:]),
    }
    if run.run.vocabulary is not None:
        return told | text_program(run, run.run.vocabulary)
    latents = latents_in(run)
    some = run.x[: _num_data(run.x)]
    return told | {
        "kind": _kind(run.x),
        "levels": [float(level) for level in levels(some)],
        "latents": latents.described(),
        "choice": choice_of(run),
        "means": stored(latents.means),
        "draws": stored(latents.draws),
        "functions": _functions(run, latents, weights),
    }


def _functions(run: OpenedRun, latents: Latents, weights: Weights) -> dict[str, Any]:
    """The functions of a program, of which a page can do without some.

    Raises:
        ValueError: If there is no decoder to show.
    """
    found = {"decode": decode(run.program, run.example).traced()}
    wanted: dict[str, Callable[[], Graph]] = {
        "encode": lambda: encode(run.program, run.example).traced()
    }
    if not latents.is_hierarchy:
        wanted["log_joint"] = lambda: log_joint(run.program, run.example).traced()
    if latents.has_prior:
        wanted["log_prior"] = lambda: log_prior(run, latents)
    for name, function in wanted.items():
        try:
            found[name] = function()
        except ValueError as error:  # the page then leaves out what it is for
            if name == "encode":
                warnings.warn(f"without an encoder nothing can be drawn: {error}", stacklevel=2)
    return {name: graph.description(weights) for name, graph in found.items()}


def _kind(x: Tensor) -> str:
    """Whether data are pictures, or rows of numbers."""
    shape = x.shape[1:]
    is_picture = len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))
    return "picture" if is_picture else "numbers"


def _can_draw(x: Tensor, program: dict[str, Any]) -> bool:
    """Whether data are strokes on empty paper, large enough to draw on, and can be encoded."""
    if program["kind"] != "picture" or "encode" not in program["functions"]:
        return False
    low, high = program["levels"]
    is_grey = x.dim() == 3 or x.shape[1] == 1
    share = float((x.float().nan_to_num() - low).mean()) / (high - low)
    return is_grey and min(x.shape[-2:]) >= 8 and share < _PAPER


def _bound(results: Mapping[str, Any]) -> str:
    """What is known of the test data, in words; an autoencoder has no bound."""
    name = "bound" if "bound" in results else "objective"
    error = f" ± {results[f'{name}_error']:.2f}" if f"{name}_error" in results else ""
    ending = "" if name == "bound" else ", which is no bound"
    return f"{name} {results[name]:.2f}{error} nats{ending}".replace("-", "−")


def _check_beside(runs: Sequence[OpenedRun], programs: Sequence[dict[str, Any]]) -> None:
    shapes = [[(z["name"], z["shape"], z["below"]) for z in p["latents"]] for p in programs]
    for run, each in zip(runs[1:], shapes[1:], strict=True):
        if each != shapes[0]:
            known = [
                ", ".join(f"{n} {tuple(s)}" for n, s, _ in sites) for sites in (shapes[0], each)
            ]
            raise ValueError(
                f"{runs[0].run.folder} has the latents {known[0]}, but {run.run.folder} has "
                f"{known[1]}; two runs beside each other must have the same, so that one z is a "
                "point of both"
            )
    if any(program["kind"] == "text" for program in programs) and len(programs) > 1:
        raise ValueError("two runs beside each other must be of pictures; explore each text alone")
