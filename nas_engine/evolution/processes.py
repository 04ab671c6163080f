"""Processes of a search: a starmap over workers that end with their parent."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from nas_engine.errors import NasEngineError
from nas_engine.evolution.evaluation import Candidates
from nas_engine.evolution.search import Job, Mapper
from nas_engine.heap import keep_freed_blocks


@contextlib.contextmanager
def mapper(workers: int, note: Callable[[str], None] = lambda text: None) -> Iterator[Mapper]:
    """Yield an ordered starmap over processes; over this one alone without semaphores for more.

    Args:
        workers: Processes.
        note: Told where there is only this one.
    """
    pool = None
    if workers > 1:
        try:
            pool = ProcessPoolExecutor(
                workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
            )
        except (
            OSError,
            ImportError,
            NotImplementedError,
        ) as error:  # some containers have no writable /dev/shm
            reason = getattr(error, "strerror", None) or error
            note(
                f"{workers} processes cannot share semaphores ({reason}; on Linux they lie in "
                "/dev/shm); one works, as with --workers 1"
            )
    if pool is None:
        keep_freed_blocks()
        yield itertools.starmap
        return
    with pool:

        def run(function: Callable[..., Candidates], jobs: Iterable[Job]) -> Iterable[Candidates]:
            return pool.map(function, *zip(*jobs, strict=True))

        try:
            with _blocked_interrupts():
                for _ in range(workers):
                    pool.submit(int)  # a process starts with each job that finds none idle
            yield run
        except BrokenProcessPool as error:
            raise NasEngineError(
                "a worker process died (out of memory?); add --resume to continue from the last "
                "checkpoint"
            ) from error


@contextlib.contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Block Ctrl-C for the moment; processes started meanwhile never receive one."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_blocks()


def _end_with_parent() -> None:
    """End this worker when the search is killed; it would wait for its next job forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
