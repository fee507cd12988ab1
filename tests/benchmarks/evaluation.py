"""Milliseconds an image of log p(x) by 5,000 draws, with the network of Burda et al. (2016).

    OMP_NUM_THREADS=1 python -m tests.benchmarks.evaluation
    python -m tests.benchmarks.evaluation --images 10_000

Each row of the first is one chunk of particles: the way of `log_likelihood`, captured and compiled,
the same written by hand, and the products of the decoder alone, on matrices that stay in the cache.
They take turns; the shortest time of each counts. The second runs
`log_likelihood` itself on so many images, from the first to the last, while another process
compiles. Peak memory is that of the whole process.
"""

import argparse
import math
import resource
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vae.inference import Compile, log_likelihood
from pyro_vae.inference.evaluation import evaluation
from pyro_vae.inference.evaluation.graph_runs import Statistic
from pyro_vae.inference.graphs import Graphs
from pyro_vae.models import VAE

from .programs import iwae, seeded

__all__ = ["main"]

_DRAWS = 5_000
_PARTICLES = 500  # of 10 images: the chunk of `log_likelihood`


def main(words: Sequence[str] | None = None) -> None:
    """Prints a row for each way, or the time of a whole run."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "tests.benchmarks.evaluation", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--images", type=int)
    options = parser.parse_args(words)
    for name in ("repeats", "images"):
        number = getattr(options, name)
        if number is not None and number < 1:
            parser.error(f"--{name} is {number}, but must be at least 1")
    case = seeded(lambda: iwae(1))
    vae, x = case.program.eval(), case.x[0]
    if options.images is not None:
        _whole(vae, (torch.rand(options.images, *x.shape[1:]) < 0.3).float())
    else:
        _each_way(vae, x, options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{peak:.2f} GB at most, {torch.get_num_threads()} threads")


def _whole(vae: VAE, x: Tensor) -> None:
    """Runs `log_likelihood` of images, and prints what it took."""
    began, busy = time.perf_counter(), time.process_time()
    log_likelihood(vae, x, _DRAWS, progress=True)
    seconds, busy = time.perf_counter() - began, time.process_time() - busy
    each = 1e3 * seconds / len(x)
    print(f"{len(x):,} images: {seconds:.1f} s, {each:.1f} ms an image, {busy:.1f} s of processors")


def _each_way(vae: VAE, x: Tensor, repeats: int) -> None:
    """Times chunks, and prints a row for each way."""
    ways = {
        **{f"by hand, {n} images x {k}": _by_hand(vae, x[:n], k) for n, k in _BY_HAND},
        **{f"ours, {mode}": _ours(vae, x[:10], mode) for mode in ("captured", "compiled")},
        "products alone": _products(vae),
    }
    with torch.no_grad():
        times = _shortest(ways, repeats)
    for name, seconds in times.items():
        print(f"| {name} | {1e3 * seconds:.1f} |")


_BY_HAND = [(1, 1_000), (10, 50), (10, 200), (50, 100)]
Way = tuple[Callable[[], Tensor], int]  # a chunk, and its rows


def _by_hand(vae: VAE, x: Tensor, num_particles: int) -> Way:
    def chunk() -> Tensor:
        loc, log_scale = vae.encoder(x).unbind(-2)
        noise = torch.randn(num_particles, *loc.shape)
        z = loc + log_scale.exp() * noise
        logits = vae.decoder(z)
        log_px = -F.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum((-1, -2, -3))
        return (log_px + (0.5 * (noise**2 - z**2) + log_scale).sum(-1)).logsumexp(0)

    return chunk, len(x) * num_particles


def _ours(vae: VAE, x: Tensor, mode: str) -> Way:
    """As `log_likelihood` runs its chunks."""
    particles = evaluation.find_particles(vae.model, vae.guide, (x,), {})

    def log_sum_w(args: Sequence[Tensor], kwargs: dict[str, int]) -> Tensor:
        return evaluation._log_w(vae, args, particles=particles, **kwargs).logsumexp(0)

    statistic = Statistic(vae.model, vae.guide, log_sum_w)
    graphs = Graphs(statistic, Compile(mode=mode), "the benchmark")
    options = {"num_particles": _PARTICLES}

    def chunk() -> Tensor:
        outcome = graphs.run((x,), options)
        return log_sum_w((x,), options) if outcome is None else outcome.value

    with torch.no_grad():
        for _ in range(3):
            chunk()
    if graphs.mode != mode:
        raise RuntimeError(f"the chunk runs {graphs.mode}: {graphs.report()}")
    return chunk, len(x) * _PARTICLES


def _products(vae: VAE, rows: int = 250, turns: int = 20) -> Way:
    weights = [parameter for parameter in vae.decoder.parameters() if parameter.dim() == 2]
    given = [torch.ones(rows, weight.shape[1]) for weight in weights]
    made = [torch.empty(rows, weight.shape[0]) for weight in weights]

    def chunk() -> Tensor:
        for _ in range(turns):
            for x, weight, out in zip(given, weights, made, strict=True):
                torch.mm(x, weight.t(), out=out)
        return made[-1]

    return chunk, rows * turns


def _shortest(ways: dict[str, Way], repeats: int) -> dict[str, float]:
    """The shortest seconds for the draws of an image, of each way."""
    times = dict.fromkeys(ways, math.inf)
    for _ in range(repeats):
        for name, (chunk, rows) in ways.items():
            began = time.perf_counter()
            chunk()
            times[name] = min(times[name], (time.perf_counter() - began) / rows * _DRAWS)
    return times


if __name__ == "__main__":
    main()
