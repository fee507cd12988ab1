"""beta-VAE, beta-TCVAE and FactorVAE against VAE on sprites, several seeds each: one table.

    python -m tests.benchmarks.disentanglement --out runs/sprites

trains four losses with three seeds each, scores the codes of each run, and writes table.md into the
folder: means over the seeds and their standard errors. A run that is finished is not trained again,
and one that was interrupted goes on from its last epoch, so that the same command goes on with all
of it. Each run folder has its traversals and its matrix of mutual information as pictures.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["LOSSES", "main", "table"]

DATA = "sprites(size=32)"
LATENTS, BATCH_SIZE = 10, 64
PROGRAM = f"VAE(latent_dim={LATENTS}, hidden=(256, 256), activation=ReLU)"
_DISCRIMINATOR = f"MLP(({LATENTS},), (1,), hidden=(256, 256, 256), activation=LeakyReLU)"
LOSSES = {
    "VAE": "TraceMeanField_ELBO()",
    "beta-VAE": "TraceMeanField_ELBO(beta=4)",
    "beta-TCVAE": "TotalCorrelation(beta=6)",
    "FactorVAE": f"FactorVAE(discriminator={_DISCRIMINATOR}, gamma=10)",
}
SCORES = (
    "MIG",
    "DCI disentanglement",
    "DCI completeness",
    "SAP",
    "FactorVAE score",
    "beta-VAE score",
    "modularity",
    "explicitness",
)


def main(words: Sequence[str] | None = None) -> None:
    """Trains and scores what is not done yet, and writes the table."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "tests.benchmarks.disentanglement", description=__doc__, formatter_class=raw
    )
    parser.add_argument("--out", type=Path, default=Path("runs/sprites"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=15_000, help="of each run")
    parser.add_argument("--data", default=DATA)
    parser.add_argument("--num-data", type=int, default=15_000, help="that are scored")
    options = parser.parse_args(words)
    for seed in range(options.seeds):  # all losses of one seed first
        for name, loss in LOSSES.items():
            folder = options.out / f"{name.lower()}-{seed}"
            _train(folder, loss, seed, options)
            _score(folder, options)
    text = table(options.out, options.seeds)
    (options.out / "table.md").write_text(text)
    print(text)


def table(out: Path, seeds: int) -> str:
    """The scores of all runs as Markdown: a row a loss, mean and standard error over seeds."""
    found = {
        name: [_results(out / f"{name.lower()}-{seed}") for seed in range(seeds)] for name in LOSSES
    }
    columns = [*SCORES, "live numbers", "bound, nats", "rate, nats"]
    lines = [f"| {seeds} seeds each | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name, runs in found.items():
        cells = [_mean([run[column] for run in runs]) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _train(folder: Path, loss: str, seed: int, options: argparse.Namespace) -> None:
    if (folder / "results.json").is_file():
        return
    if (folder / "checkpoint.pt").is_file():
        _run("train", "--resume", folder)
        return
    what = ["--data", options.data, "--loss", loss, "--seed", seed, "--out", folder]
    size = ["--steps", options.steps, "--batch-size", BATCH_SIZE, "--lr", "1e-3"]
    _run("train", PROGRAM, *what, *size)


def _score(folder: Path, options: argparse.Namespace) -> None:
    if not (folder / "disentanglement.json").is_file():
        _run("disentangle", folder, "--num-data", options.num_data)


def _run(*words: Any) -> None:
    """Runs a command, and ends with its exit code where it fails or is interrupted."""
    process = subprocess.Popen([sys.executable, "-m", "pyro_vae", *map(str, words)])
    try:
        code = process.wait()
    except KeyboardInterrupt:  # which the command has got as well, and saves its training
        code = process.wait() or 130
    if code:
        sys.exit(code)


def _results(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "disentanglement.json").read_text())
    evaluated = json.loads((folder / "results.json").read_text())
    live = len(found["information"]) - len(found["dead"])
    others = {"bound, nats": evaluated["bound"], "rate, nats": evaluated["rate"]}
    return found["scores"] | {"live numbers": live} | others


def _mean(values: Sequence[float]) -> str:
    digits = 1 if max(map(abs, values)) > 1.5 else 3
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"


if __name__ == "__main__":
    main()
