"""A conversation about a scan, line by line: by hand with a history, or through a pipe."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter

from llava.complaints import complaint
from llava.found import told, write_found
from llava.scan import Scan

HELP = """\
any words           a question about the scan
/find WORDS         the boxes that a description is about, drawn and written into {out}/
/describe X Y Z     what is at a point, metres in the upright world (z above the floor)
/help               this
/quit               leave; Ctrl-D does so too"""


def talk(scan: Scan, out: Path) -> None:
    """Answer lines from stdin until they end; what is wrong with one is told, and the next one is read.

    Args:
        scan: to talk about.
        out: folder for what is found.

    ValueError: there is no stdin.
    """
    if sys.stdin is None:
        raise ValueError("there is nowhere to read questions from: stdin is closed")
    by_hand = sys.stdin.isatty()
    sys.stdin.reconfigure(errors="replace")  # a pipe may bring anything
    if by_hand:
        with suppress(ImportError):  # Windows has none; `input` uses it where it was imported
            import readline  # noqa: F401
        print(f"{scan.folder}: {len(set(scan.chosen))} of {len(scan.scene.frames)} frames. /help tells what to say.")
    while True:
        try:
            line = input("> " if by_hand else "").strip()
            if line == "/quit":
                return
            start = perf_counter()
            text = _reply(scan, line, out) if line else None
        except EOFError:
            if by_hand:
                print()
            return
        except KeyboardInterrupt:
            if not by_hand:
                raise
            print("\nstopped; /quit or Ctrl-D to leave")
        except (ValueError, OSError) as error:
            message = complaint(error)
            if message is None:
                raise
            print(message, file=sys.stderr, flush=True)
        else:
            if text is not None:
                print(f"{text}   [{perf_counter() - start:.2f} s]" if by_hand else text, flush=True)


def _reply(scan: Scan, line: str, out: Path) -> str:
    """ValueError: the line cannot be answered."""
    if not line.startswith("/"):
        return scan.ask(line)
    verb, _, words = line.partition(" ")
    if verb == "/help":
        return HELP.format(out=out)
    if verb == "/find":
        found = scan.find(words)
        written = write_found(scan, words, found, out)
        return "\n".join([told(scan, found), *([written["files"]["picture"]] if found else [])])
    if verb == "/describe":
        return scan.describe(*_point(words))
    raise ValueError(f"unknown verb {verb!r}: /help lists all")


def _point(words: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(word) for word in words.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"/describe takes three numbers, e.g. `/describe 1 0.5 0.4`: got {words!r}") from error
    return x, y, z
