"""A fit with its time, told in the same words by Gammapy and by gammaflow. Runs in either environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any


def timed_fit(fit: Callable[[], Any], models: Iterable[Any]) -> tuple[Any, dict[str, Any]]:
    """Run a fit, and say what both sides can say of it.

    Parameters
    ----------
    fit : callable
        Runs the fit and returns its result.
    models : iterable of models
        Which it moves.

    Returns
    -------
    result, told
        What ``fit`` has returned; seconds and CPU seconds, success, statistic, and ``(value, error)`` of each
        free parameter.
    """
    start, cpu = time.perf_counter(), time.process_time()
    result = fit()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return result, {
        "seconds": seconds,
        "cpu": cpu,
        "success": bool(result.success),
        "stat": float(result.total_stat),
        "parameters": {
            f"{m.name}.{p.name}": (float(p.value), float(p.error))
            for m in models
            for p in m.parameters
            if not p.frozen
        },
    }
