"""A reduction that does nothing, for measuring what the workflow costs. Workers import it by name."""

from __future__ import annotations

from dataclasses import dataclass

from gammaflow.dag.engine import Attempt
from gammaflow.dag.receipts import Receipt, write_receipt
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.specs import ReduceSpec, TaskFunctions


@dataclass(frozen=True)
class Setup:
    """Stands for the configuration that travels with each task."""

    yaml: str
    with_receipt: bool


def reduce_nothing(spec: ReduceSpec, attempt: Attempt) -> Receipt:
    """Say in a receipt like a real one that nothing was done."""
    receipt = Receipt(
        spec.stage,
        spec.name,
        spec.key,
        arrays={f"array {n}": "00000000" for n in range(30)},
        ingredients=spec.ingredients,
        worker=attempt.worker,
        attempt=attempt.number,
    )
    if spec.setup.with_receipt:
        write_receipt(RunFolder(spec.folder).receipt(spec.stage, spec.name), receipt)
    return receipt


FUNCTIONS = TaskFunctions(reduce=reduce_nothing, stack=reduce_nothing, finish=reduce_nothing)
