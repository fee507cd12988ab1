"""What came out of a training: its evaluation, and the figures beside it."""

import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_vae import plots
from pyro_vae.batches import first
from pyro_vae.datasets import DataSource, Split, Vocabulary
from pyro_vae.inference import Evaluation, Fit, evaluate, log_likelihood, mean_and_error, peak_snr
from pyro_vae.inference.evaluation import code_usage
from pyro_vae.program import ProgramModule, device_of, evaluating

from . import figures, molecules, texts
from .objective import is_bound_after, objective, summed_out
from .prepare import Prepared, labelled
from .run import Run

__all__ = ["evaluation", "finish", "reconstruction_errors"]

Writing = dict[str, Callable[[Path], Path]]  # what writes each file, by its name


def evaluation(
    program: ProgramModule, part: Split | DataSource, *, num_particles: int | None = None
) -> dict[str, Any]:
    """The mean over data, with its standard error, of the bound, its rate and its distortion.

    What is no bound, as of an autoencoder, is called "objective". Of a program that classifies, the
    share of labels that it finds, too.

    Args:
        program: What to evaluate.
        part: The data.
        num_particles: K of the importance-weighted log-likelihood; None leaves it out.
    """
    terms = evaluate(program, part, num_particles=_draws(program, part))
    name = "bound" if terms.is_bound else "objective"
    values = {name: terms.bound, "rate": terms.rate, "distortion": terms.distortion}
    result: dict[str, Any] = {"num_data": len(part)}
    if num_particles is not None and terms.is_estimate:
        print("no log_likelihood: a density of the model is known by an estimate of a bound alone")
    elif num_particles is not None:
        values["log_likelihood"] = log_likelihood(program, part, num_particles, progress=True)
        result["num_particles"] = num_particles
    if len(x_shape := part.shapes["x"]) > 1:  # images: as many bits for each number of one
        values["bits_per_dim"] = -terms.bound / (math.prod(x_shape) * math.log(2))
    result |= _means(values) | _sites(terms) | _of_tokens(part, values)
    return result | _usage(program, part) | _accuracy(program, part)


def _draws(program: ProgramModule, part: Split | DataSource) -> int:
    """How many latents to draw for each datum: ten, but one where a density is an estimate.

    Such an estimate sums over all steps of a diffusion, a hundred calls of its network for a draw;
    the error of the mean over data is that between data.
    """
    with torch.random.fork_rng():
        return 1 if evaluate(program, first(part, 2)).is_estimate else 10


def finish(run: Run, prepared: Prepared, training: Fit) -> dict[str, Any]:
    """Evaluates the best parameters on the test data and draws the figures."""
    program, data = prepared.program, prepared.data
    run.load_weights(program)
    pyro.set_rng_seed(prepared.config.seed)
    results = _results(prepared, training.svi.steps)
    run.write_results(results | {"split": "test"})
    writing = _pictures(prepared) if data.vocabulary is None else _texts(prepared, data.vocabulary)
    writing["curves.png"] = lambda path: figures.save(plots.curves(training.records), path)
    for name, write in writing.items():
        try:
            write(run.folder / name)
        except ValueError as error:
            print(f"no {name}: {error}")
    return results


def _pictures(prepared: Prepared) -> Writing:
    program, data = prepared.program, prepared.data
    few = labelled(program, data.test, 10)
    options: dict[str, Any] = {"num_classes": data.num_classes}
    options["dtype"] = None if data.x_dtype.is_floating_point else data.x_dtype
    return {
        "samples.png": lambda path: figures.save(
            figures.samples(program, 64, data.x_shape, **options), path
        ),
        "reconstructions.png": lambda path: figures.save(
            figures.reconstructions(program, *few), path
        ),
    }


def _texts(prepared: Prepared, vocabulary: Vocabulary) -> Writing:
    program, data = prepared.program, prepared.data
    few = labelled(program, data.test, 10)
    writer = texts.Writer(program, vocabulary)
    drawn = cache(lambda: writer.samples(20, data.x_shape, num_classes=data.num_classes))
    writing: Writing = {
        "samples.txt": lambda path: texts.save(texts.with_labels(*drawn()), path),
        "reconstructions.txt": lambda path: texts.save(
            texts.pairs(*writer.reconstructions(*few)), path
        ),
    }
    if vocabulary.notation is not None:
        writing["samples.png"] = lambda path: molecules.draw(drawn()[0], path)
    return writing


def reconstruction_errors(x: Tensor, made: Tensor) -> str:
    """How far images from 0 to 1 are from their reconstructions, in words; "" of other data."""
    is_of_images = x.dim() == 4 and x.shape[1] in (1, 3) and x.is_floating_point()
    if not is_of_images or not (0 <= x.min() and x.max() <= 1):
        return ""
    decibels, error = peak_snr(x, made).mean().item(), (x - made).abs().mean().item()
    return f"absolute error {error:.4f} a pixel, PSNR {decibels:.2f} dB"


def _results(prepared: Prepared, steps: int) -> dict[str, Any]:
    """The evaluation on the test data, with what was trained beside it where that is no bound.

    Where data have no rate, it is the loss alone.
    """
    program, test, why = prepared.program, prepared.data.test, ""
    if not summed_out(program, test):
        try:
            results = evaluation(program, test)
            is_beside = "bound" in results and not is_bound_after(prepared.loss, steps)
            beside = objective(program, prepared.loss, test, steps) if is_beside else {}
            return results | beside
        except ValueError as error:  # a bound of all data together, for one
            why = f"no rate and no distortion: {error}"
    results = objective(program, prepared.loss, test, steps) | _accuracy(program, test)
    print(why, end="\n" if why else "")
    return results


def _of_tokens(part: Split | DataSource, values: Mapping[str, Tensor]) -> dict[str, Any]:
    """The nats that a token of a text costs, end marks included, and the perplexity, their exp."""
    log_p = values.get("log_likelihood", values.get("bound"))
    if not isinstance(part, Split) or not part.ragged or log_p is None:
        return {}
    nats = -log_p.sum().item() / int((part.x >= 0).sum())
    return {"nats_per_token": nats, "perplexity": math.exp(nats)}


def _sites(terms: Evaluation) -> dict[str, Any]:
    """The rate of each latent of a datum, its active units, and what it tells of the data."""
    sites: dict[str, Any] = {name: _means({"rate": rate}) for name, rate in terms.rates.items()}
    for name, units in terms.active_units.items():
        sites.setdefault(name, {}).update(active=units.active, units=len(units))
    for name, found in terms.information.items():
        told = {"mutual_information": found.told}
        marginal = {} if found.marginal is None else {"marginal_kl": found.marginal}
        sites.setdefault(name, {}).update(_means(told | marginal) | {"cap": found.cap})
    return {"sites": sites} if sites else {}


def _usage(program: ProgramModule, part: Split | DataSource) -> dict[str, Any]:
    """How many codes are used, and what they are worth, for each latent that takes codes."""
    usages = code_usage(program, part)
    return {"codes": {name: str(usage) for name, usage in usages.items()}} if usages else {}


def _accuracy(program: ProgramModule, part: Split | DataSource) -> dict[str, Any]:
    if not hasattr(program, "classify") or "y" not in part.shapes:
        return {}
    source = part.source() if isinstance(part, Split) else part
    right = []
    with evaluating(program):
        for batch in source.batches(500):
            x, y = batch["x"], batch["y"]
            guess = program.classify(x.to(device_of(program))).argmax(-1).to(y.device)
            right.append((guess == y)[y >= 0])
    known = torch.cat(right)
    return _means({"accuracy": known.double()}) if len(known) else {}


def _means(values: Mapping[str, Tensor]) -> dict[str, Any]:
    """The mean of each by its name, and its standard error by name_error, None where unknown."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        result[name], error = mean_and_error(value)
        result[f"{name}_error"] = error if math.isfinite(error) else None
    return result
