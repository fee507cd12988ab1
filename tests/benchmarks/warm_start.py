"""Seconds from the start of a process to its first compiled step, and again in a second process.

While another process compiles, captured steps go on, as in `fit`. What one waits for is the step
that captures and times kernels, the longest of the next two, and the longest step after these.

    python -m tests.benchmarks.warm_start --cases a c

Each case is trained twice, in processes of their own with one cache of compiled graphs, which is
empty at first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> None:
    """Prints a row for each process."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "tests.benchmarks.warm_start", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--cases", nargs="+", default=["a", "c"])
    parser.add_argument("--train", help="a case to train in this process")
    options = parser.parse_args(words)
    if options.train:
        print(json.dumps(_seconds(options.train)))
        return
    from .programs import CASES  # not above: a process that trains times its imports

    if unknown := {*options.cases} - {*CASES}:
        parser.error(f"there is no case {min(unknown)!r}; take some of {', '.join(CASES)}")
    columns = ("importing", "first step", "capturing", "longest later step", "until compiled")
    print("| case | process |", " | ".join(columns), "|")
    print("|---" * (2 + len(columns)) + "|")
    for case in options.cases:
        with tempfile.TemporaryDirectory() as cache:
            for process in ("first", "second"):
                found = _in_process(case, cache)
                print(f"| ({case}) | {process} |", " | ".join(f"{s:.2f}" for s in found), "|")


def _in_process(case: str, cache: str) -> list[float]:
    """The seconds of one process."""
    environment = os.environ | {"PYRO_VAE_CACHE": cache, "TORCHINDUCTOR_CACHE_DIR": cache}
    command = [sys.executable, "-W", "ignore", "-m", __spec__.name, "--train", case]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _seconds(name: str) -> list[float]:
    began = time.perf_counter()
    import pyro

    from pyro_vae.inference import SVI, Compile

    from .peers import LEARNING_RATE
    from .programs import CASES, seeded

    case = seeded(CASES[name])
    imported = time.perf_counter()
    program, adam = case.program, pyro.optim.Adam({"lr": LEARNING_RATE})
    compile = Compile(background=True)
    svi = SVI(program.model, program.guide, adam, case.loss, compile=compile)
    svi.step(case.x[0])
    first = time.perf_counter()
    ends = [first]
    while svi.mode != "compiled":
        svi.step(case.x[0])
        ends.append(time.perf_counter())
    steps = [end - begun for begun, end in pairwise(ends)]
    waits = max(steps[:2]), max(steps[2:], default=0.0)
    return [imported - began, first - imported, *waits, ends[-1] - first]


if __name__ == "__main__":
    main()
