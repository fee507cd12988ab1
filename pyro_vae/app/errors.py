"""What the command line says of an error: one sentence that a user can act on."""

import sys
import traceback
from typing import Any

import typer

__all__ = ["TRACEBACK", "printable", "show_warning", "stop"]

TRACEBACK = "--traceback"


def stop(error: Exception, *, shows_traceback: bool = False) -> int:
    """Prints the sentence of an error and returns the exit code.

    That is 2 for what a user can mend and 1 for what went wrong in here.

    Args:
        error: What was caught.
        shows_traceback: Whether all of where it came from is printed before it.
    """
    sentence, code = _sentence(error)
    if shows_traceback:
        traceback.print_exception(error)
    print(f"pyro-vae: {sentence}", file=sys.stderr)
    return code


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Prints a warning as one line."""
    print(f"pyro-vae: {message}", file=sys.stderr)


def printable() -> None:
    """Lets a terminal of few characters show others as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _sentence(error: Exception) -> tuple[str, int]:
    match error:
        case typer.TyperException():
            return _of_usage(error), 2
        case OSError() if error.errno is not None:
            what = f"{error.filename}" if error.filename else "a file"
            return f"{what} cannot be read or written: {error.strerror}", 2
        case ValueError() | FloatingPointError() | FileNotFoundError():
            return _with_line(error, _first_line(error)), 2
        case MemoryError() | RuntimeError() if _is_memory(error):
            return "there is not enough memory; take fewer data, particles or images at a time", 2
    said = f"{type(error).__name__}: {_first_line(error)}".removesuffix(": ")
    located = _with_line(error, said)
    if located != said:
        return f"{located}; {TRACEBACK} shows all", 2
    return f"{said}; this is a fault of pyro-vae itself, {TRACEBACK} shows where", 1


def _of_usage(error: typer.TyperException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".?")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "pyro-vae"
    return f"{message}; {command} --help shows what there is"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "").strip()


def _is_memory(error: Exception) -> bool:
    said = ("out of memory", "allocate memory", "not enough memory")  # by torch, on GPU and CPU
    return isinstance(error, MemoryError) or any(words in str(error) for words in said)


def _with_line(error: Exception, sentence: str) -> str:
    """Puts the user's file and line in front, where the error comes from there and says not so."""
    from pyro_vae.blame import user_line

    line = None if error.__cause__ else user_line(error)
    return sentence if line is None or line in sentence else f"{line}: {sentence}"
