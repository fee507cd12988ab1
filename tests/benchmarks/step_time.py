"""Milliseconds of a training step, ours and the peers', interleaved in one process.

Every peer has its own copy of the program and takes its epochs on the same data in turn with the
others, so that the machine's noise is shared; the median over the epochs is reported, with its
quartiles. Before, it is checked that all have one bound, and that all train alike.
"""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .peers import Build, Peer
from .programs import Case, seeded

_DRAWS = 20
_TURN = 0.25  # seconds of epochs for which one is measured
_REST = 0.03  # seconds in which the threads of the peer before, which spin for more work, give up


def measure(make: Callable[[], Case], peers: Mapping[str, Build], repeats: int) -> dict[str, Any]:
    """The step times of the peers on one case.

    Returns:
        The case's title, its FLOPs a step, the GFLOP/s of torch's matrix products meanwhile, and
        for each peer the median and quartiles in ms, and the seconds that its first epoch took
        beyond the others.
    """
    pyro.clear_param_store()
    case = seeded(make)
    running = {name: build(seeded(make)) for name, build in peers.items()}
    before = draws(running)
    check_one_bound(before)
    first = {name: seconds(peer.epoch) for name, peer in running.items()}
    if case.loss.is_bound:  # the value of a game falls and rises by chance
        check_one_training(before, draws(running))
    epochs: dict[str, list[float]] = {name: [] for name in running}
    products = []
    for _ in range(repeats):
        for name, peer in running.items():
            epochs[name].append(steady_seconds(peer.epoch))
        products.append(gigaflops())
    found = {}
    for name, times in epochs.items():
        low, median, high = quartiles(times)
        ms = [1e3 * value / len(case.x) for value in (low, median, high)]
        setup = max(first[name] - median, 0.0)
        found[name] = {"ms": ms[1], "quartiles": [ms[0], ms[2]], "setup_s": setup}
    return {
        "title": case.title,
        "flops": flops(case),
        "gigaflops": quartiles(products)[1],
        "peers": found,
    }


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes, after a short rest."""
    time.sleep(_REST)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def steady_seconds(epoch: Callable[[], Any]) -> float:
    """How long an epoch takes in the midst of others, as in a training."""
    seconds(epoch)  # brings its parameters and threads back, which the peers before pushed out
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + _TURN:
        epoch()
        count += 1
    return (time.perf_counter() - began) / count


def quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    points = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return torch.tensor(values, dtype=torch.float64).quantile(points).tolist()


def draws(peers: Mapping[str, Peer]) -> dict[str, Tensor]:
    """Draws of each peer's loss of the first batch."""
    return {
        name: torch.tensor([peer.loss() for _ in range(_DRAWS)], dtype=torch.float64)
        for name, peer in peers.items()
    }


def check_one_bound(found: Mapping[str, Tensor]) -> None:
    """All peers' losses have one mean: within 5 standard errors, and 1e-5 for float32's sums."""
    reference, *others = found
    for name in others:
        difference, error = difference_of_means(found[name], found[reference])
        if abs(difference) > 5 * error + 1e-5 * abs(float(found[reference].mean())):
            raise ValueError(
                f"{name} computes another bound than {reference}: at the same parameters its mean "
                f"loss is {difference:+.4g} from {found[reference].mean():.6g}, error {error:.2g}"
            )


def check_one_training(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """The first epoch lowers all peers' losses alike: within 5 standard errors and a twentieth.

    So they have one optimizer and one learning rate; a twentieth is for the draws of training.
    """
    reference, *others = before
    fell = float(before[reference].mean() - after[reference].mean())
    for name in others:
        difference, error = difference_of_means(after[name], after[reference])
        if abs(difference) > 5 * error + 0.05 * abs(fell):
            raise ValueError(
                f"{name} does not train as {reference} does: after the first epoch, which lowers "
                f"the loss by {fell:.4g}, its loss is {difference:+.4g} away, error {error:.2g}"
            )


def difference_of_means(one: Tensor, other: Tensor) -> tuple[float, float]:
    """The difference and its standard error."""
    return float(one.mean() - other.mean()), math.sqrt((one.var() + other.var()) / len(one))


def flops(case: Case) -> int:
    """FLOPs of a step: 6 for each multiplication forward, 2 there and 4 on the way back."""
    with FlopCounterMode(display=False) as counter:
        case.by_hand(case.x[0])
    return 3 * counter.get_total_flops()


def gigaflops(size: int = 1024) -> float:
    """GFLOP/s of torch's own float32 product of square matrices, the best of five.

    Not always the machine's peak: on AMD processors torch's MKL holds to AVX2, and XLA does not.
    """
    a, b = torch.randn(2, size, size).unbind()
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(5)) / 1e9
