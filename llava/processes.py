"""One command, one process a GPU: how the processes are started, counted, and made to wait for each other.

`torchrun` starts them and tells each, in its environment, which of how many it is. A command is typed once; `spread`
hands it over to `torchrun` where there are several GPUs, or where the environment asks for several processes:

    NUM_GPUS      processes on this machine (default: one a visible GPU; without a GPU one, on the CPU)
    NNODES        machines that take part, each of which runs the same command (default: 1)
    NODE_RANK     which of them this one is, from 0
    MASTER_ADDR   the first one's name or address; MASTER_PORT: a free port there (default: 29500)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PATIENCE = timedelta(days=2)  # the first process may be making data, or scoring, while the others wait
HANGING = timedelta(minutes=30)  # nothing that all of them compute together takes so long


def count() -> int:
    """How many processes run this command together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Whether this process does what is to be done once."""
    return rank() == 0


def tell(text: str) -> None:
    """Print what all processes find alike once."""
    if is_first():
        print(text)


def device() -> str:
    """This process's own GPU, or "cpu" where there is none."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Go on when all processes have come here."""
    if count() > 1:
        import torch

        torch.distributed.barrier(group=_waiting_group())


@lru_cache
def _waiting_group() -> torch.distributed.ProcessGroup:
    """A group that waits on the CPU: NCCL would spin on the GPU, and give up after minutes."""
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=HANGING)
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)


def leave() -> None:
    """Close what `torchrun` opened: a process that exits with its gloo threads running may abort."""
    if count() > 1:
        import torch

        if torch.distributed.is_initialized():
            _waiting_group.cache_clear()
            torch.distributed.destroy_process_group()


def spread(words: Sequence[str]) -> None:
    """Run `llava WORDS` in as many processes as `launch_line` says, in place of this one; return where that is one.

    In each of them it returns when all have come here. Raises ValueError as `launch_line` does.
    """
    if "LOCAL_RANK" in os.environ:  # started by torchrun already
        wait()  # meet once before anything that takes long, for which the others may wait as long as they like
        return
    import torch

    line = launch_line(os.environ, torch.cuda.device_count())
    if line:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *line, "-m", "llava.cli", *words])


def launch_line(environment: Mapping[str, str], gpus: int) -> list[str]:
    """The arguments of Python that start the processes, up to what they run; empty where one is enough.

    Args:
        environment: with the variables above.
        gpus: visible GPUs of this machine.

    Raises:
        ValueError: a variable is no number, out of range, or missing beside the others.
    """
    nodes = _number(environment, "NNODES", 1)
    processes = _number(environment, "NUM_GPUS", max(gpus, 1))
    if gpus and processes > gpus:
        raise ValueError(f"NUM_GPUS is {processes}, but this machine shows {gpus} GPUs")
    # One process that sees several GPUs would cut scene packs into pieces that are none (DataParallel).
    if nodes == processes == 1 and gpus <= 1 and not environment.get("NUM_GPUS"):
        return []
    line = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    if nodes == 1:
        return [*line, "--standalone"]
    missing = [name for name in ("NODE_RANK", "MASTER_ADDR") if not environment.get(name)]
    if missing:
        raise ValueError(
            f"NNODES is {nodes}, but {' and '.join(missing)} is not set: start the command on each machine with "
            "NODE_RANK 0, 1, ... and with MASTER_ADDR, the name of the machine with NODE_RANK 0"
        )
    node = _number(environment, "NODE_RANK", 0, least=0)
    if node >= nodes:
        raise ValueError(f"NODE_RANK is {node}, but it counts from 0 to NNODES - 1, which is {nodes - 1}")
    return [
        *line,
        f"--nnodes={nodes}",
        f"--node-rank={node}",
        f"--master-addr={environment['MASTER_ADDR']}",
        f"--master-port={_number(environment, 'MASTER_PORT', 29500)}",
    ]


def _number(environment: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{name} is {text!r}: expected a whole number of at least {least}")
    return int(text)
