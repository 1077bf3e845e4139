"""``gammaflow status``: how a run stands, while it runs or after."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gammaflow.cli.exits import QuietCommand
from gammaflow.cli.fit import headline
from gammaflow.cli.show import fit_entries, fits_of
from gammaflow.cli.terminal import failure_lines, plain_table, say_json, say_table, warning_lines


@click.command(cls=QuietCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(folder: Path, as_json: bool) -> None:
    """Tell which stages are done, what runs, what failed and why, and which fits there are."""
    from gammaflow.dag.status import status as status_of

    standing = status_of(folder)
    if as_json:
        warned = {
            receipt.name: list(receipt.warnings) for receipt in standing.observations if receipt.warnings
        }
        say_json({**standing.to_dict(), "warnings": warned, "fits": fit_entries(standing)})
        return
    click.echo(f"{standing.folder}: {standing.state}")
    rows = [
        [stage.stage, str(stage.total), str(len(stage.done)), str(len(stage.running)), str(len(stage.failed))]
        for stage in standing.stages
        if stage.total
    ]
    say_table(plain_table(("stage", "planned", "done", "running", "failed"), rows, numbers=4))
    for stage in standing.stages:
        if stage.running:
            names = ", ".join(name[:12] for name in stage.running[:10])
            click.echo(f"running in {stage.stage}: {names}{', ...' if len(stage.running) > 10 else ''}")
        if stage.failed:
            click.echo(f"failed in {stage.stage}:")
            click.echo("\n".join(failure_lines(stage.failed, most=len(stage.failed))))
    warnings = warning_lines(standing.observations, most=sys.maxsize)
    if warnings:
        click.echo("warnings:")
        click.echo("\n".join(warnings))
    for record in fits_of(standing):
        click.echo(f"fit {headline(record)}")
