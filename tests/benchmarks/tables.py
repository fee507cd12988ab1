"""What was measured, as Markdown."""

from collections.abc import Iterable
from typing import Any

from .growth import AXES, MORE_CASES, growth


def mark(instructions: str) -> str:
    """What stands before and after the step times with these instructions, such as "AVX2"."""
    return f"<!-- step times with {instructions}, written by python -m tests.benchmarks -->"


def report(results: dict[str, Any]) -> str:
    """All tables of a run."""
    steps = results["steps"]
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    parts = ["# Benchmarks", f"`python -m tests.benchmarks` on {machine}."]
    parts += ["## Milliseconds a step, medians", step_times(steps)]
    parts += [one_case(steps[case]) for case in main_cases(steps)]
    parts += ["## Seconds before the first graph runs", setup_seconds(steps)]
    parts += ["## Growth of the step time, ms", *growths(steps)]
    parts += ["## Speed as a share of torch.mm's", peak_shares(steps)]
    if "imports" in results:
        parts += ["## Seconds to import, medians of fresh processes"]
        parts += [table(["", "s"], ([n, f"{s:.2f}"] for n, s in results["imports"].items()))]
    if "memory" in results:
        parts += ["## MiB of resident memory that two epochs add"]
        parts += [by_peer(results["memory"], "{:.0f}")]
    return "\n\n".join(parts) + "\n"


def step_times(steps: dict[str, Any]) -> str:
    """A row for each peer, a column for each case."""
    medians = {
        steps[case]["title"]: {n: found["ms"] for n, found in steps[case]["peers"].items()}
        for case in main_cases(steps)
    }
    return by_peer(medians, "{:.2f}")


def one_case(result: dict[str, Any]) -> str:
    """The medians of one case with their quartiles, and as shares of two peers'."""
    peers = result["peers"]
    references = [name for name in ("pyro.infer.SVI", "NumPyro, scanned epoch") if name in peers]
    rows = []
    for name, found in peers.items():
        low, high = found["quartiles"]
        shares = [f"{found['ms'] / peers[other]['ms']:.2f}" for other in references]
        rows.append([name, f"{found['ms']:.2f}", f"{low:.2f}, {high:.2f}", *shares])
    return table([result["title"], "ms", "quartiles", *(f"of {r}" for r in references)], rows)


def setup_seconds(steps: dict[str, Any]) -> str:
    """What the first epoch takes beyond the others: capturing and compiling."""
    seconds = {
        case: {n: found["setup_s"] for n, found in steps[case]["peers"].items()}
        for case in main_cases(steps)
    }
    return by_peer(seconds, "{:.1f}")


def growths(steps: dict[str, Any]) -> list[str]:
    """A table for each axis."""
    return [
        table([axis, *map(str, AXES[axis])], ([p, *_row(AXES[axis], t)] for p, t in peers.items()))
        for axis, peers in growth(steps).items()
        if any(peers.values())
    ]


def _row(sizes: Iterable[int], times: dict[int, float]) -> list[str]:
    return [f"{times[n]:.2f}" if n in times else "" for n in sizes]


def peak_shares(steps: dict[str, Any]) -> str:
    """FLOPs a second of each peer over those of torch.mm, 1024x1024 float32, meanwhile."""
    shares = {
        steps[case]["title"]: {
            name: steps[case]["flops"] / found["ms"] / 1e6 / steps[case]["gigaflops"]
            for name, found in steps[case]["peers"].items()
        }
        for case in main_cases(steps)
    }
    return by_peer(shares, "{:.0%}")


def main_cases(steps: dict[str, Any]) -> list[str]:
    """The cases that all peers ran."""
    return [case for case in steps if case not in MORE_CASES]


def by_peer(columns: dict[str, dict[str, float]], form: str) -> str:
    """A row for each peer, a column for each case; a gap where a peer does not have the case."""
    peers = dict.fromkeys(name for column in columns.values() for name in column)
    cells = (
        [name, *(form.format(c[name]) if name in c else "" for c in columns.values())]
        for name in peers
    )
    return table(["", *columns], cells)


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def between_marks(text: str, content: str, mark: str) -> str:
    """The text with the content in the place between its two marks."""
    before, _, after = text.split(mark)
    return f"{before}{mark}\n\n{content}\n\n{mark}{after}"
