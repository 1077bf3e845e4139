"""Drawings of a plan: DOT for graphviz, and a layered SVG of our own that needs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from gammaflow.dag.diff import Action, PlanDiff, Verdict
from gammaflow.dag.keys import short
from gammaflow.dag.plan import FinishNode, ReduceNode

MOST_OBSERVATIONS: Final = 60
"""A plan with more is drawn with one box for all observations of a sum."""

COLOURS: Final = {Action.REUSE: "#d5e8d4", Action.RUN: "#dae8fc", Action.REDO: "#ffe6cc"}
_WIDTH, _HEIGHT, _GAP, _LAYER = 118.0, 40.0, 14.0, 92.0
_MARGIN, _LEGEND = 20.0, 34.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One box.

    Parameters
    ----------
    name : str
        Unique.
    lines : tuple of str
        What is written in it.
    colour : str
        Its fill.
    tip : str
        What a pointer over it shows.
    below : tuple of str
        Names of the boxes it is made of.
    """

    name: str
    lines: tuple[str, ...]
    colour: str
    tip: str
    below: tuple[str, ...] = ()


def to_dot(diff: PlanDiff) -> str:
    """The plan in graphviz's DOT language, coloured by what happens to each node."""
    lines = [
        "digraph plan {",
        "  rankdir=BT;",
        '  node [shape=box, style="rounded,filled", fontname="sans-serif"];',
    ]
    for box in figures(diff):
        label = "\\n".join(line.replace("\\", "\\\\").replace('"', '\\"') for line in box.lines)
        tip = box.tip.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'  "{box.name}" [label="{label}", fillcolor="{box.colour}", tooltip="{tip}"];')
        lines += [f'  "{below}" -> "{box.name}";' for below in box.below]
    return "\n".join([*lines, "}", ""])


def to_svg(diff: PlanDiff) -> str:
    """The plan as an SVG drawing: observations at the bottom, stacked datasets at the top.

    A box stands above the middle of what it is made of, so lines hardly cross: operands are in order.
    """
    boxes = {box.name: box for box in figures(diff)}
    layer = _layers(boxes)
    x = _columns(boxes, layer)
    top = max(layer.values())
    width = max(x.values()) + _WIDTH + _MARGIN
    width = max(width, 3 * _WIDTH + 4 * _GAP + _MARGIN)
    height = _LEGEND + (top + 1) * _LAYER + _MARGIN
    y = {name: _LEGEND + _MARGIN + (top - layer[name]) * _LAYER for name in boxes}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" '
        'font-family="sans-serif" font-size="11" text-anchor="middle">',
        "<title>plan</title>",
    ]
    for box in boxes.values():
        for below in box.below:
            x1, y1 = x[below] + _WIDTH / 2, y[below]
            x2, y2 = x[box.name] + _WIDTH / 2, y[box.name] + _HEIGHT
            middle = (y1 + y2) / 2
            parts.append(
                f'<path d="M{x1:.1f},{y1:.1f} C{x1:.1f},{middle:.1f} {x2:.1f},{middle:.1f} '
                f'{x2:.1f},{y2:.1f}" fill="none" stroke="#999"/>'
            )
    for name, box in boxes.items():
        parts.append(_svg_box(x[name], y[name], box.lines, box.colour, box.tip))
    for number, (action, colour) in enumerate(COLOURS.items()):
        parts.append(
            _svg_box(_MARGIN + number * (_WIDTH + _GAP), 8.0, (str(action),), colour, "", height=20.0)
        )
    return "\n".join([*parts, "</svg>", ""])


def figures(diff: PlanDiff) -> list[Figure]:
    """The boxes of a drawing, each after those it is made of."""
    verdicts = {f"{v.node.stage}/{v.node.name}": v for v in diff.steps}
    observations = [name for name, v in verdicts.items() if isinstance(v.node, ReduceNode)]
    sums = [name for name, v in verdicts.items() if not isinstance(v.node, ReduceNode)]
    together = len(observations) > MOST_OBSERVATIONS
    boxes: list[Figure] = []
    if together and not sums:
        boxes.append(_gathered("observations", [verdicts[name] for name in observations]))
    elif not together:
        boxes += [_figure(verdicts[name], ()) for name in observations]
    for name in sums:
        below = [f"{operand.stage}/{operand.name}" for operand in verdicts[name].node.needs]
        if together:
            gathered = [place for place in below if place.startswith("reduce/")]
            below = [place for place in below if not place.startswith("reduce/")]
            if gathered:
                boxes.append(_gathered(f"{name} observations", [verdicts[place] for place in gathered]))
                below.insert(0, boxes[-1].name)
        boxes.append(_figure(verdicts[name], tuple(below)))
    return boxes


def _figure(verdict: Verdict, below: tuple[str, ...]) -> Figure:
    node = verdict.node
    if isinstance(node, ReduceNode):
        lines = (f"observation {node.name}", short(node.key))
    elif isinstance(node, FinishNode):
        lines = (node.name, f"{node.observations} observations")
    else:
        lines = (f"sum {short(node.key)}", f"{node.observations} observations")
    tip = f"{verdict.action}: {verdict.reason}" if verdict.reason else str(verdict.action)
    return Figure(f"{node.stage}/{node.name}", lines, COLOURS[verdict.action], tip, below)


def _gathered(name: str, verdicts: Sequence[Verdict]) -> Figure:
    actions = [verdict.action for verdict in verdicts]
    numbers = ", ".join(f"{actions.count(action)} {action}" for action in Action if action in actions)
    worst = next(action for action in (Action.REDO, Action.RUN, Action.REUSE) if action in actions)
    ids = ", ".join(verdict.node.name for verdict in verdicts[:20]) + (", ..." if len(verdicts) > 20 else "")
    return Figure(name, (f"{len(verdicts)} observations", numbers), COLOURS[worst], ids)


def _layers(boxes: dict[str, Figure]) -> dict[str, int]:
    layer: dict[str, int] = {}
    for name, box in boxes.items():  # children come first
        layer[name] = 1 + max((layer[below] for below in box.below), default=-1)
    return layer


def _columns(boxes: dict[str, Figure], layer: dict[str, int]) -> dict[str, float]:
    """Left edge of each box: over the middle of its operands, but clear of its neighbours in the layer."""
    x: dict[str, float] = {}
    taken: dict[int, float] = {}

    def place(name: str) -> None:
        box = boxes[name]
        for below in box.below:
            place(below)
        free = taken.get(layer[name], _MARGIN)
        wanted = sum(x[below] for below in box.below) / len(box.below) if box.below else free
        x[name] = max(free, wanted)
        taken[layer[name]] = x[name] + _WIDTH + _GAP

    inner = {below for box in boxes.values() for below in box.below}
    for name in boxes:
        if name not in inner:
            place(name)
    return x


def _svg_box(x: float, y: float, lines: Sequence[str], colour: str, tip: str, height: float = _HEIGHT) -> str:
    middle, step = y + height / 2 + 4.0, 14.0
    first = middle - step * (len(lines) - 1) / 2
    text = "".join(
        f'<text x="{x + _WIDTH / 2:.1f}" y="{first + step * number:.1f}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    title = f"<title>{escape(tip)}</title>" if tip else ""
    return (
        f'<g>{title}<rect x="{x:.1f}" y="{y:.1f}" width="{_WIDTH:.0f}" height="{height:.0f}" rx="5" '
        f'fill="{colour}" stroke="#666"/>{text}</g>'
    )
