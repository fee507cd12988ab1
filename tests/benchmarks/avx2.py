"""Runs a command as on a processor without AVX-512, bfloat16 and AMX.

    python -m tests.benchmarks.avx2 python -m tests.benchmarks --cases a

The command, and what it starts, is told that the processor has AVX2 and no more. That needs a C
compiler, Linux, and a processor whose instruction `cpuid` can be made to fail: most of Intel's can.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    command = list(sys.argv[1:] if words is None else words)
    if not command or command[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "avx2.so"
        source = Path(__file__).with_suffix(".c")
        compiler = os.environ.get("CC", "cc")
        build = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        preload = ":".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
        environment = os.environ | {"LD_PRELOAD": preload}
        # what compilers keep of one processor is not for the other
        environment |= {"TORCHINDUCTOR_CACHE_DIR": folder, "PYRO_VAE_CACHE": folder}
        try:
            subprocess.run(build, check=True)
            status = subprocess.run(command, env=environment).returncode
            return status if status >= 0 else 128 - status  # of a signal, as a shell has it
        except (OSError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 127


if __name__ == "__main__":
    sys.exit(main())
