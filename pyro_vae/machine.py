"""What tells one machine from another, for what is measured or compiled on it and kept."""

import os
import platform
import sys
import sysconfig
from functools import cache
from pathlib import Path

import torch

__all__ = ["machine"]

# Variables that change which instructions torch's kernels, oneDNN and the compiler take.
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "CC",
    "CXX",
    "CXXFLAGS",
)


@cache
def machine() -> tuple[str, ...]:
    """The processor with its instructions, and the versions of Python and torch."""
    python = (sys.version, str(sysconfig.get_config_var("SOABI")))
    chosen = [f"{name}={os.environ[name]}" for name in _VARIABLES if name in os.environ]
    return (*python, torch.__version__, str(torch.version.git_version), *chosen, _processor())


def _processor() -> str:
    """Its name and its instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "-".join((platform.machine(), platform.processor(), platform.version()))
    first = {line.split(":")[0].strip(): line for line in reversed(lines) if ":" in line}
    return "\n".join(first.get(name, "") for name in ("vendor_id", "model name", "flags"))
