"""One function over many scenes: in parallel, with a progress bar, bad scenes told apart from bugs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from llava.resumable import end_with_parent

FEW = 3  # scenes for which starting processes takes longer than the work


class Workers:
    """A pool of processes that starts with the first parallel step and serves all of them.

    Each process has one thread for numerics, and ends when the main process does, even killed.
    """

    def __init__(self, count: int | None = None):
        if count is not None and count < 1:
            raise ValueError(f"{count} workers: expected 1 or more")
        self.count = count or os.cpu_count() or 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

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

    def _results(self, function: Callable, jobs: list[tuple[str, tuple]]) -> Iterator[tuple[str, Any, str | None]]:
        if self.count == 1 or len(jobs) <= FEW:
            for name, arguments in jobs:
                yield name, *_attempt(function, arguments)
            return
        pool = self._started()
        futures = {pool.submit(_attempt, function, arguments): name for name, arguments in jobs}
        for future in as_completed(futures):
            # freed at once: the results of a thousand scenes would add up
            yield futures.pop(future), *future.result()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            methods = multiprocessing.get_all_start_methods()
            context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
            if context.get_start_method() == "forkserver":
                context.set_forkserver_preload(["torch", "scipy.sparse", "PIL.Image", "llava.prepare.coverage"])
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_start)
        return self._pool


def _attempt(function: Callable, arguments: tuple) -> tuple[Any, str | None]:
    try:
        return function(*arguments), None
    except ValueError as error:  # the data's fault by convention; all else is ours and stops the run
        return None, str(error)


def _start() -> None:
    import torch

    torch.set_num_threads(1)
    end_with_parent()
