"""The ways to train a case that the benchmark compares, each with Adam at one learning rate."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.distributions import DenoisingChain
from pyro_vae.inference import SVI, Compile

from .programs import Case

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Peer:
    """A case in training.

    Args:
        epoch: Takes a step on every batch and waits for the last.
        loss: Draws the loss of the first batch, without a step.
    """

    epoch: Callable[[], Any]
    loss: Callable[[], float]


Build = Callable[[Case], Peer]


def in_torch(case: Case, step: Callable[[Tensor], Any], loss: Callable[[Tensor], Any]) -> Peer:
    """A peer that takes the batches one by one."""

    def epoch() -> None:
        for x in case.x:
            step(x)

    @torch.no_grad()
    def draw() -> float:
        return float(loss(case.x[0]))

    return Peer(epoch, draw)


def pyro_svi(case: Case) -> Peer:
    """Pyro's SVI with its own estimator."""
    k = case.loss.num_particles
    renyi = {"num_particles": k, "vectorize_particles": True, "max_plate_nesting": 1}
    elbo = pyro.infer.Trace_ELBO() if k == 1 else pyro.infer.RenyiELBO(alpha=0, **renyi)

    def model(x: Tensor) -> Any:
        pyro.module("program", case.program)
        return case.program.model(x)

    adam = pyro.optim.Adam({"lr": LEARNING_RATE})
    svi = pyro.infer.SVI(model, case.program.guide, adam, elbo)
    return in_torch(case, svi.step, svi.evaluate_loss)


def by_hand(case: Case, *, compile: bool = False) -> Peer:
    """Plain PyTorch with a fused Adam."""
    optimizer = torch.optim.Adam(case.parameters(), LEARNING_RATE, fused=True)
    loss_of = torch.compile(case.by_hand) if compile else case.by_hand

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        loss_of(x).backward()
        optimizer.step()

    return in_torch(case, step, case.by_hand)


def ours(case: Case, *, compile: bool | Compile = False, bfloat16: bool = False) -> Peer:
    """Our SVI, step by step."""
    svi = our_svi(case, compile, bfloat16)
    return in_torch(case, svi.step, svi.evaluate_loss)


def our_epoch(case: Case, *, bfloat16: bool = False) -> Peer:
    """Our SVI, compiled, with the steps of an epoch in one call, as `fit` takes them."""
    svi = our_svi(case, True, bfloat16)
    peer = in_torch(case, svi.step, svi.evaluate_loss)
    return Peer(lambda: svi.step_each(case.x), peer.loss)


def our_svi(case: Case, compile: bool | Compile, bfloat16: bool) -> SVI:
    """Our SVI of a case."""
    program, adam = case.program, pyro.optim.Adam({"lr": LEARNING_RATE})
    return SVI(program.model, program.guide, adam, case.loss, compile=compile, bfloat16=bfloat16)


def numpyro(case: Case, *, scan: bool = False) -> Peer:
    """NumPyro's SVI in one jitted step, or a jitted scan over the epoch."""
    from .numpyro_peer import numpyro_svi  # an extra; and a process without it needs no JAX

    return numpyro_svi(case, scan=scan)


PEERS: dict[str, Build] = {
    "pyro.infer.SVI": pyro_svi,
    "PyTorch by hand": by_hand,
    "PyTorch by hand, torch.compile": lambda case: by_hand(case, compile=True),
    "ours, eager": ours,
    "ours, captured": lambda case: ours(case, compile=Compile(mode="captured")),
    "ours, compiled": lambda case: ours(case, compile=True),
    "ours, compiled, bfloat16": lambda case: ours(case, compile=True, bfloat16=True),
    "ours, compiled epoch": our_epoch,
    "ours, compiled epoch, bfloat16": lambda case: our_epoch(case, bfloat16=True),
}
if find_spec("numpyro"):
    PEERS["NumPyro, jitted step"] = numpyro
    PEERS["NumPyro, scanned epoch"] = lambda case: numpyro(case, scan=True)


def peers_of(case: Case) -> dict[str, Build]:
    """The peers that have this case: NumPyro where its peer was written, Pyro with its bounds."""
    no_numpyro = any(isinstance(p, nn.Conv2d | DenoisingChain) for p in case.program.modules())
    lacks = ("NumPyro",) if no_numpyro else ()
    lacks += () if case.loss.is_bound else ("pyro.infer.SVI",)
    return {name: build for name, build in PEERS.items() if not name.startswith(lacks)}
