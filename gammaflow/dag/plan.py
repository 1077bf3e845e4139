"""The plan: which results there are to be, what each depends on, and the key that follows from it.

A plan is pure data. It is made without looking at what was done before; `compare` (module ``diff``) does
that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

from gammaflow.dag.keys import STAGE_VERSIONS, digest, short
from gammaflow.dag.tree import Branch, Position, stack_tree
from gammaflow.data import ObservationFiles
from gammaflow.errors import ConfigError, MissingFileError

FORMAT = 1
"""Version of the JSON layout of a plan."""

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Operand:
    """Something that a stack adds up: the result of another node."""

    stage: str
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class ReduceNode:
    """The reduction of one observation.

    Parameters
    ----------
    files : ObservationFiles
        Where its tables are; small and picklable.
    key : str
        Digest of stage version, files and the part of the configuration that matters.
    position : Position
        Where it points in the parent geometry.
    group : str
        Name of the stacked dataset it belongs to.
    ingredients : dict of str to str
        Short digests of what the key is made of.
    inputs : tuple of (name, size, mtime_ns)
        The files.
    """

    stage: ClassVar[str] = "reduce"
    files: ObservationFiles
    key: str
    position: Position
    group: str = "stacked"
    ingredients: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[tuple[str, int, int], ...] = ()

    @property
    def obs_id(self) -> int:
        """The observation."""
        return self.files.obs_id

    @property
    def name(self) -> str:
        """The observation's id, as text."""
        return str(self.files.obs_id)

    @property
    def needs(self) -> tuple[Operand, ...]:
        """Nothing: it reads files."""
        return ()


@dataclass(frozen=True, slots=True)
class StackNode:
    """A partial sum, kept to be found again.

    Parameters
    ----------
    key : str
        Digest of the rule's version and of the operands' keys, in order. Also its name.
    needs : tuple of Operand
        What it adds, in order.
    observations : int
        How many observations are in it.
    """

    stage: ClassVar[str] = "stack"
    key: str
    needs: tuple[Operand, ...]
    observations: int

    @property
    def name(self) -> str:
        """The key."""
        return self.key


@dataclass(frozen=True, slots=True)
class FinishNode:
    """The root of a stack tree: the last sum, and the division that makes it a dataset.

    Parameters
    ----------
    name : str
        Name of the stacked dataset.
    key : str
        Digest of versions, name and operands' keys.
    needs : tuple of Operand
        What it adds, in order.
    observations : int
        How many observations are in it.
    ingredients : dict of str to str
        Short digests of what the key is made of.
    """

    stage: ClassVar[str] = "finish"
    name: str
    key: str
    needs: tuple[Operand, ...]
    observations: int
    ingredients: Mapping[str, str] = field(default_factory=dict)


Node = ReduceNode | StackNode | FinishNode


@dataclass(frozen=True, slots=True)
class Stack:
    """One stacked dataset: its root, and the partial sums below, children before parents."""

    root: FinishNode
    partials: tuple[StackNode, ...] = ()

    @property
    def nodes(self) -> tuple[StackNode | FinishNode, ...]:
        """Partial sums and root, children before parents."""
        return (*self.partials, self.root)


@dataclass(frozen=True)
class Plan:
    """Everything that is to be there at the end.

    Parameters
    ----------
    reductions : tuple of ReduceNode
        Sorted by observation id.
    fan_in : int
        Most operands of a sum.
    stacked : bool
        Whether there is anything to stack at all.
    setup : object
        What the tasks need besides their files; small and picklable.
    left_out : frozenset of int
        Observations that could not be reduced, and are not in the stacks.
    keep_observations : bool
        Whether the datasets of the observations are wanted when they are stacked.
    """

    reductions: tuple[ReduceNode, ...]
    fan_in: int = 8
    stacked: bool = True
    setup: Any = None
    left_out: frozenset[int] = frozenset()
    keep_observations: bool = True

    @cached_property
    def stacks(self) -> tuple[Stack, ...]:
        """One stack a group, sorted by name, numbers in it as numbers; none if nothing is to be stacked."""
        if not self.stacked:
            return ()
        groups: dict[str, list[ReduceNode]] = {}
        for node in self.reductions:
            if node.obs_id not in self.left_out:
                groups.setdefault(node.group, []).append(node)
        return tuple(plan_stack(name, groups[name], self.fan_in) for name in sorted(groups, key=_in_order))

    def nodes(self) -> Iterator[Node]:
        """All nodes, children before parents."""
        yield from self.reductions
        for stack in self.stacks:
            yield from stack.nodes

    def without(self, obs_ids: Iterable[int]) -> Plan:
        """The same plan with some observations left out of the stacks."""
        return replace(self, left_out=self.left_out | frozenset(obs_ids))

    def to_json(self) -> str:
        """The nodes with their keys and operands; what ``plan.json`` holds."""
        nodes: list[dict[str, object]] = []
        for node in self.nodes():
            entry: dict[str, object] = {"stage": node.stage, "name": node.name, "key": node.key}
            if isinstance(node, ReduceNode):
                entry["group"] = node.group
            else:
                entry["needs"] = [f"{operand.stage}/{operand.name}" for operand in node.needs]
            nodes.append(entry)
        lines = ",\n  ".join(json.dumps(entry) for entry in nodes)
        head = json.dumps({"format": FORMAT, "fan_in": self.fan_in, "left_out": sorted(self.left_out)})
        return f'{head[:-1]}, "nodes": [\n  {lines}\n]}}\n'


def make_plan(
    observations: Sequence[ObservationFiles],
    *,
    ingredients: Mapping[str, object],
    positions: Mapping[int, Position] | None = None,
    groups: Mapping[int, str] | None = None,
    fan_in: int = 8,
    stacked: bool = True,
    setup: Any = None,
    keep_observations: bool = True,
) -> Plan:
    """The plan of a set of observations.

    Parameters
    ----------
    observations : sequence of ObservationFiles
        The files of each observation, in any order.
    ingredients : dict of str to object
        What every reduction depends on besides its files, by name: anything that ``keys.canonical`` takes.
    positions : dict of int to Position, optional
        Where each observation points in the parent geometry; the centre if not given.
    groups : dict of int to str, optional
        Name of the stacked dataset each observation belongs to; ``stacked`` if not given.
    fan_in : int
        Most operands of a sum.
    stacked : bool
        Whether to stack.
    setup : object
        What the tasks need besides the files.
    keep_observations : bool
        Whether the datasets of the observations are wanted when they are stacked.

    Raises
    ------
    ConfigError
        No observation, or one that comes twice.
    """
    if not observations:
        raise ConfigError(
            "no observation is selected",
            where="observations",
            hint="Look at obs_ids, obs_file, obs_cone and obs_time, and at flow.exclude",
        )
    common = {name: short(digest(value)) for name, value in ingredients.items()}
    common_key = digest("reduce", STAGE_VERSIONS["reduce"], ingredients)
    reductions: list[ReduceNode] = []
    for files in sorted(observations, key=lambda files: files.obs_id):
        obs_id = files.obs_id
        if reductions and reductions[-1].obs_id == obs_id:
            raise ConfigError(
                f"observation {obs_id} is selected twice", where="observations", hint="Name it once"
            )
        inputs = _identity(files)
        content = [inputs, _layout(files)]
        reductions.append(
            ReduceNode(
                files,
                digest(common_key, obs_id, content),
                (positions or {}).get(obs_id, Position(obs_id)),
                (groups or {}).get(obs_id, "stacked"),
                {
                    **common,
                    "the files": short(digest(content)),
                    "the stage's version": str(STAGE_VERSIONS["reduce"]),
                },
                inputs,
            )
        )
    return Plan(tuple(reductions), fan_in, stacked, setup, keep_observations=keep_observations or not stacked)


def plan_stack(name: str, reductions: Sequence[ReduceNode], fan_in: int) -> Stack:
    """The stack of a group of reductions."""
    by_id = {node.obs_id: node for node in reductions}
    root = stack_tree((node.position for node in reductions), fan_in)
    partials: list[StackNode] = []
    made: dict[int, Operand] = {}  # by identity: comparing whole subtrees would be slow
    counts: dict[int, int] = {}

    def operands(branch: Branch) -> tuple[tuple[Operand, ...], int]:
        found, count = [], 0
        for child in branch.children:
            if isinstance(child, Branch):
                found.append(made[id(child)])
                count += counts[id(child)]
            else:
                node = by_id[child]
                found.append(Operand(node.stage, node.name, node.key))
                count += 1
        return tuple(found), count

    for branch in root.branches():
        needs, count = operands(branch)
        keys = [operand.key for operand in needs]
        if branch is root:
            key = digest("finish", STAGE_VERSIONS["finish"], STAGE_VERSIONS["stack"], name, keys)
            ingredients = {
                "which observations": short(digest(sorted(by_id))),
                "the stage's version": f"{STAGE_VERSIONS['finish']}.{STAGE_VERSIONS['stack']}",
                "an observation": short(digest(sorted(node.key for node in reductions))),
            }
            return Stack(FinishNode(name, key, needs, count, ingredients), tuple(partials))
        key = digest("stack", STAGE_VERSIONS["stack"], keys)
        partials.append(StackNode(key, needs, count))
        made[id(branch)] = Operand("stack", key, key)
        counts[id(branch)] = count
    raise AssertionError("a tree ends with its root")


def _in_order(name: str) -> tuple[list[str | float], str]:
    """Sorts ``zenith-5-10`` before ``zenith-10-20``."""
    parts = _NUMBER.split(name)  # texts at even places, numbers at odd ones
    return [float(part) if place % 2 else part for place, part in enumerate(parts)], name


def _identity(files: ObservationFiles) -> tuple[tuple[str, int, int], ...]:
    """Name, size and mtime of each file; if some are missing, which: their arrival changes the key.

    The reduction itself then fails with the error that names them, and the observation is set aside like
    any other.
    """
    try:
        return files.identity()
    except MissingFileError:
        return tuple((path, -1, 0) for path in files.missing_files())


def _layout(files: ObservationFiles) -> list[object]:
    """What the files are read for; without their paths, which may change when a data store moves."""
    hdus = sorted((hdu.hdu_type, hdu.hdu_class, hdu.name, hdu.hdu_name) for hdu in files.hdus)
    return [hdus, files.intervals]
