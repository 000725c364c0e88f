"""One function over many scenes: in parallel, here or on a Ray cluster, bad scenes told apart from bugs."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from types import ModuleType
from typing import Any

from llava.resumable import end_with_parent

KNOCKING = 10  # seconds in which a cluster's port must answer
FEW = 3  # scenes for which starting processes takes longer than the work


class Workers:
    """A pool of processes that starts with the first parallel step and serves all of them.

    Each process has one thread for numerics, and ends when the main process does, even killed. With `ray` the same
    functions run as tasks of a Ray cluster, each on one of its processors; all its machines must see the data folder
    under one path, and have this package installed.

    Args:
        count: processes here; default: one a processor.
        ray: address of a cluster ("auto", "HOST:PORT", "ray://..."), or "local" for one that lives as long as this.

    Raises:
        ValueError: fewer than one process, Ray is not installed, or no cluster is at that address.
    """

    def __init__(self, count: int | None = None, ray: str | None = None):
        if count is not None and count < 1:
            raise ValueError(f"{count} workers: expected 1 or more")
        self.count = count or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None
        self._ray = None if ray is None else _connected(ray, count)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._ray is not None:
            self._ray.shutdown()

    def each(
        self, function: Callable, jobs: Iterable[tuple[str, tuple]], title: str
    ) -> Iterator[tuple[str, Any, str | None]]:
        """(name, result, None), or (name, None, reason) where ``function(*arguments)`` raised ValueError.

        ``jobs`` are (name, arguments); results come as they are done. Any other exception is raised here.
        """
        from tqdm import tqdm

        jobs = list(jobs)
        with tqdm(total=len(jobs), desc=title, unit="scene", disable=None, leave=False) as bar:
            for result in self._results(function, jobs):
                bar.update()
                yield result

    def threads(self, jobs: int) -> int:
        """How many threads each of so many jobs may use: all processors where `each` runs them one by one, here."""
        return self.count if self._one_by_one(jobs) else 1

    def _one_by_one(self, jobs: int) -> bool:
        return self._ray is None and (self.count == 1 or jobs <= FEW)

    def _results(self, function: Callable, jobs: list[tuple[str, tuple]]) -> Iterator[tuple[str, Any, str | None]]:
        if self._ray is not None:
            yield from self._remote_results(function, jobs)
            return
        if self._one_by_one(len(jobs)):
            for name, arguments in jobs:
                yield name, *_attempt(function, arguments)
            return
        pool = self._started()
        futures = {pool.submit(_attempt, function, arguments): name for name, arguments in jobs}
        for future in as_completed(futures):
            # freed at once: the results of a thousand scenes would add up
            yield futures.pop(future), *future.result()

    def _remote_results(
        self, function: Callable, jobs: list[tuple[str, tuple]]
    ) -> Iterator[tuple[str, Any, str | None]]:
        attempt = self._ray.remote(num_cpus=1)(_attempt)
        pending = {attempt.remote(function, arguments): name for name, arguments in jobs}
        while pending:
            (done,), _ = self._ray.wait(list(pending))
            yield pending.pop(done), *self._ray.get(done)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            methods = multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            if context.get_start_method() == "forkserver":
                context.set_forkserver_preload(["torch", "scipy.sparse", "PIL.Image", "llava.prepare.coverage"])
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_start)
        return self._pool


def _connected(address: str, count: int | None) -> ModuleType:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ValueError("Ray is not installed: pip install -e '.[ray]'") from error
    try:
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own reports to nobody
            ray.init(address="local", num_cpus=count, include_dashboard=False, log_to_driver=False)
        else:
            _knock(address)
            ray.init(address=address, log_to_driver=False)
    except (OSError, OverflowError, ValueError) as error:
        raise ValueError(f"there is no Ray cluster at {address!r} ({error}): start one with `ray start`") from error
    return ray


def _knock(address: str) -> None:
    """Raise OSError where HOST:PORT does not answer: Ray itself would try for minutes, and then end the program."""
    host, _, port = address.rpartition(":")
    if "://" not in address and host and port.isdecimal():
        socket.create_connection((host, int(port)), KNOCKING).close()


def _attempt(function: Callable, arguments: tuple) -> tuple[Any, str | None]:
    try:
        return function(*arguments), None
    except ValueError as error:  # the data's fault by convention; all else is ours and stops the run
        return None, str(error)


def _start() -> None:
    import torch

    torch.set_num_threads(1)
    end_with_parent()
