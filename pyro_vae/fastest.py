"""Which of several ways to compute the same is the fastest on this machine: measured, and kept.

A way that is right on one processor is wrong on the next. On an EPYC of AVX2, MKL multiplies
128 x 784 x 400 in 0.65 ms and oneDNN in 0.95, on a Xeon of AVX-512 in 0.76 and 0.36; bfloat16 is
twice as fast as float32 on the one and nine times as slow on the other.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes

from .cache import cache_file, cache_folder
from .machine import machine

__all__ = ["fastest"]

_ROUNDS = 20  # in which all ways take turns
# The lower quartile of their times counts: what else runs on the machine adds to the others, and a
# kernel whose threads were lucky once is not the faster one for it.
_SECONDS = 0.1  # after which there are no more rounds, if there were five
_MARGIN = 0.95  # of the first way's time; what is not faster than this does not replace it


Ways = Mapping[str, Callable[[], Any]]


def fastest(name: str, ways: Callable[[], Ways]) -> str:
    """The name of the fastest way; the first, unless another takes less than 0.95 of its time.

    It is measured once on a machine for each number of threads, in some milliseconds, and then
    read from the user's cache, so that another run chooses the same.

    Args:
        name: What is computed, with the shapes.
        ways: Makes the functions that compute it, by name, each on tensors of its own; the first is
            the usual one. It is called only where they are to be measured.
    """
    name = f"{name}, {torch.get_num_threads()} threads"
    known = _known()
    if name not in known:
        # what a tracer sees would become part of its graph, and modes would change what is timed
        with _disable_current_modes(), torch.no_grad(), torch._C.DisableTorchFunction():
            known[name] = _measured(ways())
        _save(known)
    return known[name]


def _measured(ways: Ways) -> str:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for work in ways.values():  # once before: a kernel sets itself up at its first call
        work()
    end = time.perf_counter() + _SECONDS
    for turn in range(_ROUNDS):
        if turn >= 5 and time.perf_counter() > end:
            break
        for way, work in ways.items():
            began = time.perf_counter()
            work()
            times[way].append(time.perf_counter() - began)
    quartiles = {way: sorted(found)[len(found) // 4] for way, found in times.items()}
    first, best = next(iter(ways)), min(quartiles, key=quartiles.__getitem__)
    return best if quartiles[best] < _MARGIN * quartiles[first] else first


@cache
def _known() -> dict[str, str]:
    """The choices of this machine, by name; read once, and shared by all of this process."""
    path = _file()
    try:
        found = {} if path is None else json.loads(path.read_text())
    except (OSError, ValueError):  # none yet, or a file that is broken: measured anew
        return {}
    return found if isinstance(found, dict) else {}


def _save(known: Mapping[str, str]) -> None:
    path = _file()
    if path is None:
        return
    try:
        cache_file(path, json.dumps(known, indent=1).encode())
    except OSError:  # a full disk is no reason to end a training
        return


def _file() -> Path | None:
    folder = cache_folder("fastest")
    of = hashlib.sha256(repr(machine()).encode()).hexdigest()[:16]
    return None if folder is None else folder / f"{of}.json"
