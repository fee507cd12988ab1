"""Milliseconds of a training step, ours and the peers', interleaved in one process.

    python -m tests.benchmarks.step_time a c --repeats 9 --out step_time.json

Every peer has its own copy of the program and takes its steps on the same data in turn with the
others, a block of steps at a time, so that the machine's noise is shared; the median over the
blocks is reported, and its spread as the quartiles. Writes JSON, prints a Markdown table.
"""

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor

from pyro_vae.inference import SVI, Compile

from .programs import CASES, Case

Step = Callable[[Tensor], Any]


def pyro_svi(make: Callable[[], Case]) -> Step:
    """Pyro's SVI with its own estimator, validation off."""
    case = make()
    k = case.loss.num_particles
    if k == 1:
        loss = pyro.infer.Trace_ELBO()
    else:
        loss = pyro.infer.RenyiELBO(
            alpha=0, num_particles=k, vectorize_particles=True, max_plate_nesting=1
        )

    def model(x: Tensor) -> Any:
        pyro.module("program", case.program)
        return case.program.model(x)

    return pyro.infer.SVI(model, case.program.guide, pyro.optim.Adam({"lr": 1e-3}), loss).step


def by_hand(make: Callable[[], Case], *, compiled: bool) -> Step:
    """Plain PyTorch with a fused Adam."""
    case = make()
    optimizer = torch.optim.Adam(case.program.parameters(), 1e-3, fused=True)
    loss_of = torch.compile(case.by_hand) if compiled else case.by_hand

    def step(x: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(x)
        loss.backward()
        optimizer.step()
        return loss

    return step


def ours(make: Callable[[], Case], compile: bool | Compile) -> Step:
    """Our SVI."""
    case = make()
    program = case.program
    optim = pyro.optim.Adam({"lr": 1e-3})
    return SVI(program.model, program.guide, optim, case.loss, compile=compile).step


PEERS: dict[str, Callable[[Callable[[], Case]], Step]] = {
    "pyro.infer.SVI": pyro_svi,
    "PyTorch by hand": lambda make: by_hand(make, compiled=False),
    "PyTorch by hand, torch.compile": lambda make: by_hand(make, compiled=True),
    "ours, eager": lambda make: ours(make, False),
    "ours, captured": lambda make: ours(make, Compile(fuse=False)),
    "ours, compiled": lambda make: ours(make, True),
}


def measure(name: str, repeats: int) -> dict[str, Any]:
    """The times of all peers on one program."""
    torch.manual_seed(0)
    first = CASES[name]()

    def make() -> Case:  # the same initial parameters for each peer
        case = CASES[name]()
        case.program.load_state_dict(copy.deepcopy(first.program.state_dict()))
        return case

    pyro.clear_param_store()
    steps, warm_up = {}, {}
    for peer, build in PEERS.items():
        steps[peer] = build(make)
        began = time.perf_counter()
        for i in range(12):
            steps[peer](first.x[i % len(first.x)])
        warm_up[peer] = time.perf_counter() - began
    times: dict[str, list[float]] = {peer: [] for peer in PEERS}
    for _ in range(repeats):
        for peer, step in steps.items():
            began = time.perf_counter()
            for x in first.x:
                step(x)
            times[peer].append((time.perf_counter() - began) / len(first.x) * 1e3)
    found = {}
    for peer, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        found[peer] = {"ms": median, "quartiles": [low, high], "first_12_steps_s": warm_up[peer]}
    return {"title": first.title, "peers": found}


def table(result: dict[str, Any]) -> str:
    """Markdown: a row for each peer, with its ratio to Pyro's SVI."""
    reference = result["peers"]["pyro.infer.SVI"]["ms"]
    rows = [
        f"| {result['title']} | ms a step | quartiles | of pyro.infer.SVI |",
        "|---|---|---|---|",
    ]
    for peer, found in result["peers"].items():
        low, high = found["quartiles"]
        ratio = found["ms"] / reference
        rows.append(f"| {peer} | {found['ms']:.2f} | {low:.2f}, {high:.2f} | {ratio:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Measures the programs that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), choices=[*CASES, []])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    pyro.enable_validation(False)
    results = {}
    for name in options.cases or list(CASES):
        results[name] = measure(name, options.repeats)
        print(table(results[name]), flush=True)
    if options.out:
        machine = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        options.out.write_text(json.dumps(machine | results, indent=2) + "\n")


if __name__ == "__main__":
    main()
