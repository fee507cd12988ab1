"""What is paid beside the steps: seconds of imports, and memory.

Each number comes from a fresh process.
"""

import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyro

from .peers import PEERS
from .programs import CASES, seeded
from .step_time import quartiles

IMPORTS = {
    "pyro": "import pyro",
    "pyro_vae": "import pyro_vae",
    "pyro_vae, its models and inference": "import pyro_vae, pyro_vae.models, pyro_vae.inference",
}
MEMORY_CASES = ("a", "b50", "d")
MEMORY_PEERS = (
    "PyTorch by hand",
    "PyTorch by hand, torch.compile",
    "ours, captured",
    "ours, compiled",
)


def import_seconds(repeats: int = 7) -> dict[str, float]:
    """The median seconds of each import, the interpreter's own start left out."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, statement in IMPORTS.items():
            times[name].append(_seconds_of(statement))
    return {name: quartiles(values)[1] for name, values in times.items()}


def _seconds_of(statement: str) -> float:
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(run.stdout)


def memory(cases: tuple[str, ...] = MEMORY_CASES) -> dict[str, dict[str, float]]:
    """MiB by which two epochs raise the peak of the process's resident memory.

    From before the program is made, so that parameters, Adam's state, what is kept for the way
    back, and the compiler's modules all count; what the run has compiled before is read back.
    On Linux.
    """
    found: dict[str, dict[str, float]] = {}
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh:
        for case in cases:
            found[case] = {p: fresh.submit(_growth, case, p).result() for p in MEMORY_PEERS}
    return found


def _growth(case: str, peer: str) -> float:
    warnings.filterwarnings("ignore")
    pyro.enable_validation(False)
    before = _peak()
    training = PEERS[peer](seeded(CASES[case]))
    training.epoch()
    training.epoch()
    return _peak() - before


def _peak() -> float:
    # Not getrusage: a child's ru_maxrss begins at its parent's on Linux.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024
