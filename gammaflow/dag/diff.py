"""What a run would do: the plan held against what a run folder holds."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from gammaflow.dag.plan import Node, Plan, Stack
from gammaflow.dag.receipts import Receipt
from gammaflow.dag.run_folder import Inventory


class Action(enum.StrEnum):
    """What happens to a node."""

    RUN = "run"
    """It was never done."""
    REUSE = "reuse"
    """It is done, or nothing needs it."""
    REDO = "redo"
    """It was done, but something that it depends on has changed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A node and what happens to it.

    Parameters
    ----------
    node : ReduceNode, StackNode or FinishNode
        The node.
    action : Action
        Run, reuse or redo.
    reason : str
        Why, as a clause; empty if there is nothing to say.
    """

    node: Node
    action: Action
    reason: str = ""


@dataclass(frozen=True)
class PlanDiff:
    """The plan's nodes, each with what happens to it; children before parents."""

    steps: tuple[Verdict, ...]

    def to_do(self, stage: str) -> tuple[Verdict, ...]:
        """What has to run in a stage."""
        return tuple(
            step for step in self.steps if step.node.stage == stage and step.action is not Action.REUSE
        )

    def count(self, stage: str, action: Action) -> int:
        """How many nodes of a stage meet an action."""
        return sum(step.node.stage == stage and step.action is action for step in self.steps)

    def summary(self) -> str:
        """A line a stage, and the reasons of what is redone, each once with its number."""
        lines = []
        for stage in ("reduce", "stack", "finish"):
            numbers = [f"{self.count(stage, action)} {action}" for action in Action]
            if any(step.node.stage == stage for step in self.steps):
                lines.append(f"{stage}: {', '.join(numbers)}")
                reasons = Counter(
                    step.reason
                    for step in self.steps
                    if step.node.stage == stage and step.reason and step.action != "reuse"
                )
                lines += [f"  {number} x {reason}" for reason, number in reasons.most_common()]
        return "\n".join(lines)


def compare(plan: Plan, inventory: Inventory) -> PlanDiff:
    """What each node of a plan needs, given what a run folder holds.

    A partial sum is needed only if the sum above it is: what led to a finished stack need not be there
    any more.
    """
    sums = [verdict for stack in plan.stacks for verdict in _stack(stack, inventory)]
    wanted = {
        operand.name
        for verdict in sums
        if verdict.action is not Action.REUSE
        for operand in verdict.node.needs
        if operand.stage == "reduce"
    }
    steps = []
    for node in plan.reductions:
        verdict = _verdict(node, inventory)
        receipt = inventory.receipts.get((node.stage, node.name))
        gone = verdict.action is Action.REUSE and receipt is not None and receipt.dropped
        if gone and (node.name in wanted or plan.keep_observations):
            verdict = Verdict(node, Action.REDO, "its dataset was not kept")
        steps.append(verdict)
    return PlanDiff((*steps, *sums))


def _verdict(node: Node, inventory: Inventory) -> Verdict:
    place = (node.stage, node.name)
    receipt = inventory.receipts.get(place)
    if receipt is not None and receipt.key == node.key:
        return Verdict(node, Action.REUSE)
    if place in inventory.broken:
        return Verdict(node, Action.REDO, inventory.broken[place])
    if receipt is not None:
        return Verdict(node, Action.REDO, _what_changed(receipt, getattr(node, "ingredients", {})))
    failure = inventory.failures.get(place)
    return Verdict(node, Action.RUN, f"failed before ({failure.error})" if failure is not None else "")


def _stack(stack: Stack, inventory: Inventory) -> list[Verdict]:
    root = _verdict(stack.root, inventory)
    steps = [root]
    wanted = {operand.name for operand in stack.root.needs} if root.action is not Action.REUSE else set()
    for node in reversed(stack.partials):  # parents before children
        if node.name not in wanted:
            steps.append(Verdict(node, Action.REUSE, "not needed"))
            continue
        step = _verdict(node, inventory)
        steps.append(step)
        if step.action is not Action.REUSE:
            wanted |= {operand.name for operand in node.needs}
    return steps[::-1]


def _what_changed(receipt: Receipt, ingredients: Mapping[str, str]) -> str:
    changed = [name for name, value in ingredients.items() if receipt.ingredients.get(name) != value]
    changed += [name for name in receipt.ingredients if name not in ingredients]
    return f"{' and '.join(changed)} changed" if changed else "its key changed"
