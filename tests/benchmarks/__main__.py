"""Measures ours and its peers, all in one run.

    pip install -e ".[benchmarks]"
    python -m tests.benchmarks --out tests/benchmarks/results.json \\
        --markdown tests/benchmarks/RESULTS.md --page docs/speed.md
    python -m tests.benchmarks.avx2 python -m tests.benchmarks --cases a b1 b5 b50 c \\
        --out tests/benchmarks/results_avx2.json --markdown tests/benchmarks/RESULTS_avx2.md \\
        --page docs/speed.md

Each takes a quarter of an hour on two cores, which should have nothing else to do. `--cases c`
measures the steps of one case alone.
"""

import argparse
import json
import os
import platform
import tempfile
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyro
import torch

from .costs import import_seconds, memory
from .growth import ALL_CASES, MORE_CASES
from .growth import PEERS as GROWTH_PEERS
from .peers import PEERS, peers_of
from .step_time import measure
from .tables import between_marks, mark, report, step_times


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    found = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    found["instructions"] = torch.backends.cpu.get_cpu_capability()
    found["Python"] = platform.python_version()
    for name in ("torch", "pyro-ppl", "jax", "numpyro"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def run(cases: list[str], repeats: int, among: list[str]) -> dict[str, Any]:
    """All measurements of the cases; of imports and memory too if no case is left out."""
    results: dict[str, Any] = {"machine": machine(), "steps": {}}
    for name in cases:
        make = ALL_CASES[name]
        peers = peers_of(make())
        if name in MORE_CASES:
            peers = {peer: peers[peer] for peer in GROWTH_PEERS}
        peers = {peer: build for peer, build in peers.items() if peer in among}
        print(f"case {name}: {', '.join(peers) or 'none of these peers has it'}", flush=True)
        if not peers:
            continue
        results["steps"][name] = measure(make, peers, repeats)
    if set(cases) == set(ALL_CASES):
        print("imports and memory", flush=True)
        results |= {"imports": import_seconds(), "memory": memory()}
    return results


def main() -> None:
    """Measures and writes what the command line asks for."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("tests.benchmarks", description=__doc__, formatter_class=raw)
    parser.add_argument("--cases", nargs="+", default=list(ALL_CASES), choices=list(ALL_CASES))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, help="writes all numbers here, as JSON")
    parser.add_argument("--markdown", type=Path, help="writes all tables here")
    parser.add_argument(
        "--page", type=Path, help="puts the step times between the marks of these instructions"
    )
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of compilers, about themselves
    pyro.enable_validation(False)
    # JAX reads these when it starts, which it has not yet: the threads that torch has.
    os.environ |= {"NPROC": str(torch.get_num_threads()), "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as cache:  # so that compiling is never a reading back
        os.environ |= {"TORCHINDUCTOR_CACHE_DIR": cache, "PYRO_VAE_CACHE": cache}
        results = run(options.cases, options.repeats, options.peers)
    text = report(results)
    print(text)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(text)
    if options.page:
        table = step_times(results["steps"])
        marked = mark(results["machine"]["instructions"])
        options.page.write_text(between_marks(options.page.read_text(), table, marked))


if __name__ == "__main__":
    main()
