"""``gammaflow plan``: what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gammaflow.cli.exits import QuietCommand
from gammaflow.cli.terminal import plain_table, say_json, say_table

if TYPE_CHECKING:
    from gammaflow.dag.diff import PlanDiff

STAGES = ("reduce", "stack", "finish")


@click.command(cls=QuietCommand)
@click.argument("config_file", metavar="CONFIG.yaml", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Compare with this run folder."
)
@click.option(
    "--dot", metavar="FILE", type=click.Path(path_type=Path), help="Draw the DAG in Graphviz' language."
)
@click.option(
    "--svg", metavar="FILE", type=click.Path(path_type=Path), help="Draw the DAG as an SVG picture."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(config_file: Path, folder: Path | None, dot: Path | None, svg: Path | None, as_json: bool) -> None:
    """Tell what would run, be reused or be redone; nothing is run or written.

    Without a run folder (here or as flow.run) it is what a first run would do.
    """
    from gammaflow.analysis import Analysis

    diff = Analysis(config_file, run=folder).plan()
    if dot is not None:
        from gammaflow.dag.drawing import to_dot

        dot.write_text(to_dot(diff), encoding="utf-8")
    if svg is not None:
        from gammaflow.dag.drawing import to_svg

        svg.write_text(to_svg(diff), encoding="utf-8")
    if as_json:
        say_json(_content(diff))
    else:
        _say(diff)
        for file in (dot, svg):
            if file is not None:
                click.echo(f"The DAG is drawn in {file}.")


def _content(diff: PlanDiff) -> dict[str, Any]:
    from gammaflow.dag.diff import Action

    return {
        "stages": {stage: {str(action): diff.count(stage, action) for action in Action} for stage in STAGES},
        "nodes": [
            {
                "stage": step.node.stage,
                "name": step.node.name,
                "key": step.node.key,
                "action": str(step.action),
                "reason": step.reason,
            }
            for step in diff.steps
        ],
        "missing_files": {name: list(paths) for name, paths in _missing_files(diff).items()},
    }


def _say(diff: PlanDiff) -> None:
    from collections import Counter

    from gammaflow.dag.diff import Action

    rows = [
        [stage, *(str(diff.count(stage, action)) for action in (Action.RUN, Action.REDO, Action.REUSE))]
        for stage in STAGES
        if any(step.node.stage == stage for step in diff.steps)
    ]
    say_table(plain_table(("stage", "to run", "to run again", "done"), rows, numbers=3))
    reasons = Counter(
        (step.node.stage, step.reason)
        for step in diff.steps
        if step.reason and step.action is not Action.REUSE
    )
    for (stage, reason), number in reasons.most_common():
        click.echo(f"  {stage}: {number} x {reason}")
    missing = _missing_files(diff)
    if missing:
        click.echo(f"Files of {len(missing)} observations are not there, so that their reduction will fail:")
        for name, paths in missing.items():
            click.echo(f"  observation {name}: {', '.join(paths)}")


def _missing_files(diff: PlanDiff) -> dict[str, tuple[str, ...]]:
    """Files that the index names and that are not there, by observation."""
    from gammaflow.dag.plan import ReduceNode

    found = (
        (step.node.name, step.node.files.missing_files())
        for step in diff.steps
        if isinstance(step.node, ReduceNode)
    )
    return {name: paths for name, paths in found if paths}
