"""What went wrong for the user's or the machine's reasons, told without a traceback: by `llava` and by the scripts."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

import tyro
from safetensors import SafetensorError

# How safetensors and `torch.save` say that a file cannot be written; neither keeps the system's error.
UNWRITTEN = ("Error while serializing: I/O error", "PytorchStreamWriter failed", "unexpected pos")


def run_script(action: Callable, description: str | None) -> None:
    """Run a script's function with the arguments that the script was given; errors are told as those of `llava`."""
    with complaints(Path(sys.argv[0]).name):
        tyro.cli(action, description=description)


@contextmanager
def complaints(command: str) -> Iterator[None]:
    """A ValueError of ours is a message to the user, as is what the system refuses (a full disk, a folder that must not
    be written) and a worker that was killed: each ends the program with code 2 and no traceback.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError, SafetensorError) as error:
        message = complaint(error)
        if message is None:
            raise
        print(f"{command}: {message}", file=sys.stderr)
        sys.exit(2)


def complaint(error: BaseException) -> str | None:
    """What is to be told of an error to the user; None where it is a bug, or where nobody is left to read a message."""
    if isinstance(error, BrokenPipeError):
        return None
    if isinstance(error, ValueError):
        return str(error) if _is_ours(error) else None
    if isinstance(error, OSError):
        if error.errno is None:  # a library's, about something else
            return None
        files = [str(name) for name in (error.filename, error.filename2) if name is not None]  # a copy has two
        place = ": " + " -> ".join(files) if files else ""
        return f"{error.strerror}{place}; mend that and run it again"
    if isinstance(error, BrokenProcessPool):  # a RuntimeError, too
        return "a worker process was killed, out of memory perhaps: run it again, with fewer --workers"
    if any(sign in str(error) for sign in UNWRITTEN):
        return f"a file cannot be written ({error}): is the disk full? Mend that and run it again"
    return None


def _is_ours(error: ValueError) -> bool:
    """Whether a `raise` in this package made it, or beside the script that runs; what numpy or torch raise is a bug, to
    be seen with its traceback.

    Errors of compiled code have a frame of ours innermost, too, but at another instruction than a raise.
    """
    innermost = error.__traceback__
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    frame = innermost.tb_frame
    instruction = dis.opname[frame.f_code.co_code[innermost.tb_lasti]]
    beside = Path(frame.f_code.co_filename).resolve().parent == Path(sys.argv[0]).resolve().parent
    return (frame.f_globals["__name__"].startswith("llava.") or beside) and instruction == "RAISE_VARARGS"
