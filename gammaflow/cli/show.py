"""``gammaflow show``: what came out of a run, in numbers and, when asked for, in figures."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from gammaflow.cli.exits import QuietCommand
from gammaflow.cli.fit import say_fits
from gammaflow.cli.terminal import failure_lines, say_json, say_table, summary_table

if TYPE_CHECKING:
    from gammaflow.dag.fit_record import FitRecord
    from gammaflow.dag.receipts import DatasetNumbers, Receipt
    from gammaflow.dag.status import RunStatus


@click.command(cls=QuietCommand)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--figures", metavar="DIR", type=click.Path(path_type=Path), help="Draw the stacked datasets into DIR."
)
def show(folder: Path, as_json: bool, figures: Path | None) -> None:
    """Sum up every dataset of a run, the observations and what they are stacked to, and list its fits.

    Sums are over the safe bins; excess is counts - background, with the background's fitted norm applied.
    """
    from gammaflow.dag.status import status
    from gammaflow.errors import RunError

    standing = status(folder)
    if as_json:
        say_json({**_content(standing), "fits": fit_entries(standing)})
    else:
        _say(standing)
        records = fits_of(standing)
        say_fits(records, [_is_current(record, standing) for record in records])
    if figures is not None:
        if not standing.stacked:
            raise RunError("nothing is stacked, so there is nothing to draw", where=str(standing.folder))
        for stacked in standing.stacked:
            path = figures if len(standing.stacked) == 1 else figures / stacked.name
            draw(standing.folder / stacked.group, path)
            for record in fits_of(standing):
                if record.datasets == "stacked" and _is_current(record, standing):
                    draw_residuals(standing.folder, record, stacked.group, path)
            click.echo(f"Figures of {stacked.name} are in {path}.", err=True)


def _content(standing: RunStatus) -> dict[str, Any]:
    stacked = [_entry(summary) for summary in summaries(standing.stacked)]
    content: dict[str, Any] = {
        "observations": [_entry(summary) for summary in summaries(standing.observations)],
        "stacked": stacked[0] if len(stacked) == 1 else None,
        "failed": [
            {
                "name": record.name,
                "stage": record.stage,
                "error": record.error,
                "message": record.message,
                "where": record.where,
                "hint": record.hint,
            }
            for stage in standing.stages
            for record in stage.failed
        ],
    }
    if len(stacked) > 1:
        content["groups"] = stacked
    return content


def _entry(summary: DatasetNumbers) -> dict[str, Any]:
    entry = dataclasses.asdict(summary)
    if math.isfinite(summary.counts):
        entry["counts"] = int(summary.counts)
    return entry


def summaries(receipts: tuple[Receipt, ...]) -> list[DatasetNumbers]:
    """The summary of each dataset that has one."""
    return [receipt.summary for receipt in receipts if receipt.summary is not None]


def fits_of(standing: RunStatus) -> tuple[FitRecord, ...]:
    """The fits that the run folder holds."""
    from gammaflow.dag.fit_record import read_fits
    from gammaflow.dag.run_folder import RunFolder

    return read_fits(RunFolder(standing.folder))


def fit_entries(standing: RunStatus) -> list[dict[str, Any]]:
    """Of each fit what a script asks for first; all of it is in its ``result.json``."""
    keys = (
        "name",
        "datasets",
        "backend",
        "converged",
        "message",
        "total_stat",
        "trips",
        "seconds",
        "parameters",
    )
    entries = []
    for record in fits_of(standing):
        content = record.to_dict()
        entries.append(
            {
                **{key: content[key] for key in keys},
                "current": _is_current(record, standing),
                "folder": f"fits/{record.name}",
            }
        )
    return entries


def _is_current(record: FitRecord, standing: RunStatus) -> bool:
    from gammaflow.dag.fit_record import is_current

    return is_current(record, standing.keys)


def _say(standing: RunStatus) -> None:
    say_table(summary_table([*summaries(standing.observations), *summaries(standing.stacked)]))
    failed = [record for stage in standing.stages for record in stage.failed]
    if failed:
        click.echo("failed:")
        click.echo("\n".join(failure_lines(failed)))
    if not standing.stacked and standing.stage("finish").total:
        click.echo(f"Nothing is stacked yet; gammaflow status {standing.folder} tells how the run stands.")


def draw(group: Path, folder: Path) -> None:
    """Draw a dataset: a PNG a map (counts, background, exposure, excess, significance), and one of all.

    Of a spectrum there is only the last.
    """
    import gammaflow.io
    from gammaflow.datasets import MapDataset
    from gammaflow.plot import plot_dataset, plot_quantity
    from gammaflow.plot.dataset import Quantity

    dataset = gammaflow.io.read_dataset(group)
    folder.mkdir(parents=True, exist_ok=True)
    for quantity in get_args(Quantity) if isinstance(dataset, MapDataset) else ():
        plot_quantity(dataset, quantity).figure.savefig(folder / f"{quantity}.png", dpi=150)
    plot_dataset(dataset).savefig(folder / "overview.png", dpi=100)


def draw_residuals(run: Path, record: FitRecord, group: str, folder: Path) -> None:
    """Draw what a fit has left of a dataset."""
    import gammaflow.io
    from gammaflow.dag.fit_datasets import EnergyRange, within
    from gammaflow.modeling import Models
    from gammaflow.plot import plot_residuals

    low, high = (limit if math.isfinite(limit) else None for limit in record.energy_range)
    dataset = within(gammaflow.io.read_dataset(run / group), EnergyRange(low, high))
    models = Models.read(run / "fits" / record.name / "models.yaml")
    figure = plot_residuals(dataset, models, title=f"Residuals of the fit {record.name}")
    figure.savefig(folder / f"residuals_{record.name}.png", dpi=110)
