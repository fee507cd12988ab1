"""How the step time grows with the batch, the particles and the depth."""

from functools import partial
from typing import Any

from .programs import CASES, groups, mlp

PEERS = ("pyro.infer.SVI", "ours, compiled")
MORE_CASES = {
    "a32": partial(mlp, 32),
    "a512": partial(mlp, 512),
    "c1": partial(groups, 1),
    "c5": partial(groups, 5),
}
AXES = {
    "batch of (a)": {32: "a32", 128: "a", 512: "a512"},
    "K of (b)": {1: "b1", 5: "b5", 50: "b50"},
    "groups of (c)": {1: "c1", 5: "c5", 15: "c"},
}
ALL_CASES = CASES | MORE_CASES


def growth(steps: dict[str, Any]) -> dict[str, dict[str, dict[int, float]]]:
    """The step times along each axis, by axis, peer and size, as far as they were measured."""
    measured = {case: result["peers"] for case, result in steps.items()}
    return {
        axis: {
            peer: {
                n: measured[c][peer]["ms"] for n, c in cases.items() if peer in measured.get(c, ())
            }
            for peer in PEERS
        }
        for axis, cases in AXES.items()
    }
