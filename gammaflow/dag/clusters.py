"""Where the workers come from: processes of this machine, or a scheduler that is there already."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import dask
from distributed import Client, LocalCluster

from gammaflow.errors import ClusterError, ConfigError

_log = logging.getLogger(__name__)

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS"), "1"
)
"""A worker is a process on one core; libraries with threads of their own would fight over the cores."""

ONE_ARENA: Final = {"MALLOC_ARENA_MAX": "1"}
"""One heap for all threads of a worker, so that what one freed the next can use (see `process_memory`). It can
only be said before the process starts."""


@contextmanager
def local_cluster(
    workers: int | None = None,
    *,
    memory_limit: str | None = None,
    dashboard: bool = True,
    timeout: float = 60.0,
) -> Iterator[Client]:
    """A client of a cluster of processes on this machine, closed at the end.

    Parameters
    ----------
    workers : int, optional
        Processes, with one thread each; the number of cores if not given.
    memory_limit : str, optional
        Of each worker, e.g. ``"4 GiB"``; its share of the machine's memory if not given.
    dashboard : bool
        Serve Dask's dashboard; ``client.dashboard_link`` says where.
    timeout : float
        Seconds to wait for the workers to start.

    Raises
    ------
    ConfigError
        A number of workers below one.
    ClusterError
        The workers did not start.
    """
    if workers is not None and workers < 1:
        raise ConfigError(
            f"{workers} workers", where="flow.workers", hint="Give 1 or more, or run with --serial"
        )
    settings = {
        # One death may be bad luck, and the task is tried on another worker; the second one names the task.
        "distributed.scheduler.allowed-failures": 1,
        "distributed.nanny.pre-spawn-environ": ONE_THREAD | ONE_ARENA,
        "distributed.comm.timeouts.connect": f"{timeout:g}s",
    }
    with dask.config.set(settings):
        cluster = _start(workers, memory_limit, dashboard)
        try:
            with Client(cluster, timeout=timeout) as client:
                _wait_for_workers(client, timeout, "this machine")
                yield client
        finally:
            cluster.close(timeout=10.0)


@contextmanager
def connect(address: str, *, timeout: float = 30.0) -> Iterator[Client]:
    """A client of a scheduler that is running, closed at the end; the scheduler and its workers stay.

    Parameters
    ----------
    address : str
        E.g. ``tcp://login1:8786``.
    timeout : float
        Seconds to wait for the scheduler to answer.

    Raises
    ------
    ClusterError
        Nobody answers there, or no Dask scheduler.
    """
    try:
        client = Client(address, timeout=timeout)
    except (OSError, TimeoutError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers within {timeout:g} s ({type(error).__name__}: {error})",
            where=address,
            hint="Check the address, that the scheduler runs and that this machine may reach it",
        ) from error
    with client:
        yield client


def _start(workers: int | None, memory_limit: str | None, dashboard: bool) -> LocalCluster:
    try:
        return LocalCluster(
            n_workers=workers or _cores(),
            threads_per_worker=1,
            processes=True,
            memory_limit=memory_limit or "auto",
            # any free port: the usual one may belong to another run
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": dashboard},
            silence_logs=logging.ERROR,
            preload=["gammaflow.dag.worker_setup"],
        )
    except (OSError, TimeoutError, RuntimeError) as error:
        raise ClusterError(
            f"the workers did not start ({type(error).__name__}: {error})",
            where="this machine",
            hint="Try fewer workers, or --serial",
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{memory_limit!r} is not an amount of memory",
            where="flow.memory_limit",
            hint='Write e.g. "4 GiB"',
        ) from error


def _wait_for_workers(client: Client, timeout: float, where: str) -> None:
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        raise ClusterError(
            f"no worker started within {timeout:g} s", where=where, hint="Try fewer workers, or --serial"
        ) from error


def _cores() -> int:
    """Cores that this process may use; a batch job has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
