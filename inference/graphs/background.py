"""Compiling in another process, while this one goes on with captured steps."""

import os
import signal
import sys
import threading
import warnings
import weakref
from dataclasses import dataclass, field

import torch

from pyro_vae.cache import cache_folder

from .compiled import Compiled, Plan
from .uncapturable import first_line

__all__ = ["Compiling", "can_compile_in_background"]


def can_compile_in_background(plan: Plan) -> bool:
    """Whether a copy of this process can compile the plan, and this one load what it made.

    The library passes through the cache. A copy cannot use a GPU that was in use before, and those
    of macOS may do little.
    """
    has_place = plan.key is not None and cache_folder("compiled") is not None
    return has_place and sys.platform == "linux" and not torch.cuda.is_initialized()


@dataclass
class Compiling:
    """A copy of this process that compiles a plan and ends.

    It has the plan in its memory, so that nothing needs to be written down and read. It computes
    with one thread, since those of this process are not copied. Where this one's threads take all
    cores it has one less meanwhile: threads that wait for one that has lost its core make a step
    three times as long.

    Args:
        plan: What it compiles.
    """

    plan: Plan
    _pid: int = field(init=False)
    _messages: int = field(init=False)

    def __post_init__(self) -> None:
        self._messages, writes = os.pipe()
        with warnings.catch_warnings():
            # Python warns of copies of a process with threads: what one of them holds stays held
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            _compile_and_end(self.plan, writes)
        os.close(writes)
        self._end = weakref.finalize(self, _stop, self._pid, self._messages, os.getpid())
        threads = torch.get_num_threads()
        self._threads = weakref.finalize(self, torch.set_num_threads, threads)
        if threads > 1 and threads >= len(os.sched_getaffinity(0)):
            torch.set_num_threads(threads - 1)

    def is_done(self) -> bool:
        """Whether it has ended; asked before each step, in a microsecond."""
        try:
            return os.waitpid(self._pid, os.WNOHANG)[0] != 0
        except ChildProcessError:  # someone else waited for it
            return True

    def result(self) -> Compiled:
        """The compiled graph, once it is done.

        Raises:
            RuntimeError: If the compiler failed; in its own words.
        """
        self._end.detach()
        self._threads()  # as many as before
        with os.fdopen(self._messages, "rb") as messages:
            failure = messages.read().decode(errors="replace")
        found = self.plan.found()
        if found is None:
            raise RuntimeError(failure or "the compiler's process has ended without a result")
        return found


def _compile_and_end(plan: Plan, writes: int) -> None:
    """What the copy does; it never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the training, which ends this
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        from torch._inductor import config

        with config.patch({"cpp.threads": threads}):  # of the code that it writes
            plan.compile_into_cache()
        code = 0
    except Exception as error:
        os.write(writes, first_line(error).encode()[:2_000])
    finally:
        os._exit(code)


def _stop(pid: int, messages: int, parent: int) -> None:
    """Ends the copy, with the training or the program that wants it no more."""
    if os.getpid() != parent:
        return
    os.close(messages)
    try:
        os.kill(pid, signal.SIGKILL)
        threading.Thread(target=os.waitpid, args=(pid, 0), daemon=True).start()
    except (ProcessLookupError, RuntimeError):  # ended already; no threads at the end of Python
        return
