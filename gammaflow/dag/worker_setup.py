"""What a worker process of our own clusters does when it starts: a Dask preload module."""

from __future__ import annotations

import signal
import threading

from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Leave Ctrl-C to the process that runs the analysis.

    A terminal sends it to every process of the group. The run then decides what happens to the workers:
    what they do at that moment may still end well.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
