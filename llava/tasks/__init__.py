"""The benchmarks: TASKS holds each by name, one file a benchmark."""

from __future__ import annotations

from difflib import get_close_matches

from llava.tasks import multi3drefer, scan2cap, scanqa, scanrefer, sqa3d
from llava.tasks.task import Task

TASKS: dict[str, Task] = {
    module.TASK.name: module.TASK for module in (scanrefer, multi3drefer, scan2cap, scanqa, sqa3d)
}


def find_task(name: str) -> Task:
    """The task of that name; ValueError with the nearest name for an unknown one."""
    if name not in TASKS:
        close = get_close_matches(name.lower(), TASKS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}{hint}")
    return TASKS[name]
