"""What every speed benchmark needs: seconds, peak memory of a fresh process, how cost grows, and what it leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Run:
    """One call in a process of its own."""

    result: Any
    seconds: float  # of the call alone, without the start of the process and its imports
    peak_mb: float  # 1e6 bytes, of the whole process, interpreter and libraries included


def check_counts(**counts: int | Sequence[int]) -> None:
    """Raise ValueError for a number below 1, or none at all, before anything is measured."""
    for name, value in counts.items():
        values = [value] if isinstance(value, int) else list(value)
        if not values or min(values) < 1:
            raise ValueError(f"--{name.replace('_', '-')}: expected numbers of at least 1, got {value}")


def interleaved(ways: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, list[float]]:
    """Seconds of each call of each way. Taken in turns, so that what else the machine does meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def in_child(function: Callable[..., Any], *arguments: Any, processes: bool = False) -> Run:
    """Call ``function(*arguments)`` in a fresh interpreter.

    Args:
        function: of a module's top level; all that crosses is pickled.
        processes: the function starts processes, whose memory counts: the peak is then of the sum of proportional
            set sizes, looked at every 20 ms, else the kernel's own high-water mark of resident memory.

    Raises:
        RuntimeError: the function raised (its traceback is on stderr), or its process was killed.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(send, function, arguments))
    child.start()
    send.close()
    try:
        peak = _watch(child.pid, receive) if processes else 0.0
        result, seconds, own_peak = receive.recv()
    except EOFError as error:
        child.join()
        raise RuntimeError(f"{function.__name__} ended with exit code {child.exitcode} and no result") from error
    child.join()
    return Run(result, seconds, peak if processes else own_peak)


def _call(send: Connection, function: Callable, arguments: tuple) -> None:
    start = time.perf_counter()
    result = function(*arguments)
    seconds = time.perf_counter() - start
    # not getrusage: its mark is carried over from the parent, through fork and exec
    send.send((result, seconds, _status_mb("VmHWM")))


def _status_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024e-6 for line in lines if line.startswith(name + ":"))


def _watch(pid: int, receive: Connection) -> float:
    peak = 0.0
    while not receive.poll(POLL_SECONDS):
        peak = max(peak, tree_mb(pid))
    return peak


def tree_mb(pid: int) -> float:
    """Proportional set size of a process and its descendants now, 1e6 bytes; those that have just ended count 0."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        tasks = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    own = sum(int(line.split()[1]) * 1024e-6 for line in rollup if line.startswith("Pss:"))
    return own + sum(tree_mb(int(child)) for children in tasks for child in children)


def growth_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """``b`` of the least-squares fit ``cost = a * size ** b`` in logarithms; 1 is linear."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def conditions() -> dict[str, str]:
    """The command, the commit, the day and the machine, as every result states them."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=Path(__file__).parent
    )
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": described.stdout.strip(),
        "date": date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores ({_processor()}), {_gpu()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _gpu() -> str:
    import torch  # here, as a child process that imports this module need not have it

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write(script: Path, title: str, text: str, numbers: Mapping[str, Any]) -> None:
    """Write <script>.json (conditions and numbers) and <script>.md (title, conditions, text), and print the latter."""
    stated = conditions()
    script.with_suffix(".json").write_text(json.dumps({"conditions": stated, **numbers}, indent=1) + "\n")
    page = (
        f"# {title}\n\n    {stated['command']}\n\n"
        f"{stated['date']}, commit {stated['commit']}, {stated['machine']}. "
        f"Numbers in [{script.stem}.json]({script.stem}.json).\n\n{text.strip()}\n"
    )
    script.with_suffix(".md").write_text(page)
    print(page)
