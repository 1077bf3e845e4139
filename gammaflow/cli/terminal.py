"""What people see: tables and lists on a terminal; and the JSON that scripts read."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from gammaflow.dag.receipts import DatasetNumbers, FailureRecord, Receipt

_WIDE = 500
"""Columns a table may take; a narrower terminal breaks its lines, which is better than losing digits."""

MOST_LINES = 20
"""Failures and warnings that a run lists; a survey may have thousands."""


def say_json(content: dict[str, Any]) -> None:
    """Strict JSON on standard output: NaN and infinities are null."""
    click.echo(json.dumps(_finite(content), indent=1, allow_nan=False))


def say_table(table: Table) -> None:
    """A table on standard output, no line of it cut off."""
    from rich.console import Console

    Console(file=sys.stdout, width=_WIDE).print(table)


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: int) -> Table:
    """A table without a frame; the last ``numbers`` columns are set to the right."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for place, name in enumerate(columns):
        # "[m]" would be taken for a style
        table.add_column(
            escape(name), justify="right" if place >= len(columns) - numbers else "left", no_wrap=True
        )
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def summary_table(summaries: Iterable[DatasetNumbers]) -> Table:
    """One row a dataset: what went in, and how well the sky was looked at."""
    columns = (
        *("name", "counts", "background", "excess", "exposure min", "exposure max"),
        *("livetime", "ontime", "bins", "fit bins"),
    )
    units = ("", "", "", "", "m² s", "m² s", "s", "s", "", "")
    headings = [f"{name} [{unit}]" if unit else name for name, unit in zip(columns, units, strict=True)]
    rows = (
        (
            each.name,
            f"{each.counts:.0f}",
            f"{each.background:.2f}",
            f"{each.excess:.2f}",
            f"{each.exposure_min:.2e}",
            f"{each.exposure_max:.2e}",
            f"{each.livetime:.0f}",
            f"{each.ontime:.0f}",
            f"{each.n_bins}",
            f"{each.n_fit_bins}",
        )
        for each in summaries
    )
    return plain_table(headings, rows, numbers=len(columns) - 1)


def failure_lines(failures: Sequence[FailureRecord], most: int = MOST_LINES) -> list[str]:
    """Which observation failed, why, and what to do about it: an entry for each, up to ``most`` of them."""
    lines = []
    for record in failures[:most]:
        what = f"observation {record.name}" if record.stage == "reduce" else f"{record.stage} {record.name}"
        place = record.where.removeprefix(what).removeprefix(": ")
        lines.append(f"  {what}: {f'{place}: ' if place else ''}{record.message} ({record.error})")
        if record.hint:
            lines.append(f"      {record.hint}")
    return [*lines, *_and_more(len(failures) - most)]


def warning_lines(receipts: Iterable[Receipt], most: int = MOST_LINES) -> list[str]:
    """What the makers warned of, each with the observation it is about, up to ``most`` of them."""
    lines = []
    for receipt in receipts:
        what = f"observation {receipt.name}" if receipt.stage == "reduce" else receipt.name
        lines += [f"  {text}" if receipt.name in text else f"  {what}: {text}" for text in receipt.warnings]
    return [*lines[:most], *_and_more(len(lines) - most)]


def _and_more(number: int) -> list[str]:
    return [f"  and {number} more: gammaflow status lists all"] if number > 0 else []


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
