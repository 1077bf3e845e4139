"""The workflow: plan, engine, stack tree, receipts, error policy, events; and fits on workers.

``DaskEngine``, ``local_cluster`` and ``connect`` are in their own modules, ``dask_engine`` and
``clusters``, so that planning and looking at a run need no Dask. With this room imported, ``Fit.run`` takes
a Dask client.
"""

from __future__ import annotations

from gammaflow.dag.diff import Action, PlanDiff, compare
from gammaflow.dag.drawing import to_dot, to_svg
from gammaflow.dag.engine import Engine, SerialEngine, Timeouts
from gammaflow.dag.events import Callback, Event
from gammaflow.dag.plan import Plan, make_plan
from gammaflow.dag.policy import ErrorPolicy
from gammaflow.dag.receipts import DatasetNumbers, FailureRecord, Receipt
from gammaflow.dag.run import Run, RunSummary, StageSummary
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.status import RunState, RunStatus, StageStatus
from gammaflow.fit import EvaluatorFactory, Fit, register_client

__all__ = [
    "Action",
    "Callback",
    "DatasetNumbers",
    "Engine",
    "ErrorPolicy",
    "Event",
    "FailureRecord",
    "Fit",
    "Plan",
    "PlanDiff",
    "Receipt",
    "Run",
    "RunFolder",
    "RunState",
    "RunStatus",
    "RunSummary",
    "SerialEngine",
    "StageStatus",
    "StageSummary",
    "Timeouts",
    "compare",
    "make_plan",
    "to_dot",
    "to_svg",
]


def _on_workers(client: object) -> EvaluatorFactory:
    """Evaluators on the workers of a Dask cluster."""
    from distributed import Client

    from gammaflow.dag.fit_workers import DaskEvaluators

    assert isinstance(client, Client)
    return DaskEvaluators(client)


register_client("distributed", _on_workers)
