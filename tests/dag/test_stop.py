"""Stopping the engine in an unlucky moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from gammaflow.dag.dask_engine import DaskEngine


@pytest.mark.parametrize(("unlucky", "asked"), [(0, 1), (1, 2), (5, 3)])
def test_a_task_that_ends_while_its_worker_is_asked_does_not_break_the_stop(unlucky: int, asked: int) -> None:
    """Dask's worker raises KeyError when a thread ends between two of its looks at the threads."""
    calls: list[int] = []

    async def call_stack() -> dict[str, Any]:
        calls.append(len(calls))
        if len(calls) <= unlucky:
            raise KeyError(140_000)
        return {}

    def sync(question: Callable[[], Awaitable[Any]], callback_timeout: float) -> Any:
        return asyncio.run(question())  # type: ignore[arg-type]  # the engine's questions are coroutines

    client: Any = SimpleNamespace(
        scheduler=SimpleNamespace(address="tcp://127.0.0.1:1", call_stack=call_stack),
        status="running",
        sync=sync,
    )
    assert DaskEngine(client).stop() == []
    assert len(calls) == asked
