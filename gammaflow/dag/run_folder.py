"""The run folder: where everything of a run lies, and what of it is done.

::

    RUN/plan.json  config.yaml  events.jsonl  run.lock
    RUN/observations/<obs_id>.zarr    <obs_id>.json its receipt, or <obs_id>.failed.json
    RUN/partials/<key>.zarr           inner nodes of the stack tree, with <key>.json
    RUN/stacked/<name>.zarr           with <name>.json
    RUN/fits/<name>/                  see `gammaflow.dag.fit_record`
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Final

from gammaflow.dag import atomic
from gammaflow.dag.receipts import FailureRecord, Receipt, read_failure, read_receipt
from gammaflow.io.folders import TEMPORARY, storage_error

STAGE_FOLDERS: Final[Mapping[str, str]] = {"reduce": "observations", "stack": "partials", "finish": "stacked"}
"""Folder of each stage's results."""

_FAILED: Final = ".failed.json"
_READERS: Final = 8


@dataclass(frozen=True)
class Inventory:
    """What one listing of a run folder found, kept up to date with what is done since.

    Parameters
    ----------
    receipts : dict of (stage, name) to Receipt
        Receipts whose group is there, with the sizes that they say.
    broken : dict of (stage, name) to str
        Receipts that prove nothing, and why.
    failures : dict of (stage, name) to FailureRecord
        What could not be done the last time.
    """

    receipts: Mapping[tuple[str, str], Receipt] = field(default_factory=dict)
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict)
    failures: Mapping[tuple[str, str], FailureRecord] = field(default_factory=dict)

    def with_news(
        self, done: Mapping[tuple[str, str], Receipt], failed: Mapping[tuple[str, str], FailureRecord]
    ) -> Inventory:
        """The same after some nodes were done and some failed.

        A network file system may show another machine's new files a minute late; whoever was told need not ask it.
        """
        news = done.keys() | failed.keys()
        receipts = {place: receipt for place, receipt in self.receipts.items() if place not in news}
        broken = {place: reason for place, reason in self.broken.items() if place not in news}
        failures = {place: record for place, record in self.failures.items() if place not in news}
        return Inventory(receipts | dict(done), broken, failures | dict(failed))


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder, and the few things done to it.

    Parameters
    ----------
    path : Path
        The folder; it need not exist yet.
    """

    path: Path

    def __post_init__(self) -> None:
        # Workers have another current directory, so only an absolute path means the same to all.
        object.__setattr__(self, "path", Path(self.path).absolute())

    @property
    def plan(self) -> Path:
        """The plan, as JSON."""
        return self.path / "plan.json"

    @property
    def config(self) -> Path:
        """The configuration, as YAML."""
        return self.path / "config.yaml"

    @property
    def events(self) -> Path:
        """What happened, a JSON line an event."""
        return self.path / "events.jsonl"

    @property
    def lock(self) -> Path:
        """Who writes at this moment."""
        return self.path / "run.lock"

    @property
    def fits(self) -> Path:
        """What fits left, a folder each."""
        return self.path / "fits"

    def group(self, stage: str, name: str) -> Path:
        """The Zarr group of a node."""
        return self.path / STAGE_FOLDERS[stage] / f"{name}.zarr"

    def receipt(self, stage: str, name: str) -> Path:
        """The receipt of a node."""
        return self.path / STAGE_FOLDERS[stage] / f"{name}.json"

    def failure(self, stage: str, name: str) -> Path:
        """The failure record of a node."""
        return self.path / STAGE_FOLDERS[stage] / f"{name}{_FAILED}"

    def create(self) -> None:
        """Make the folder and its rooms.

        Raises
        ------
        StorageError
            No permission, no space, or a file in the way.
        """
        for name in ("", *STAGE_FOLDERS.values()):
            folder = self.path / name
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise storage_error(error, folder, 0) from error

    def forget(self, stage: str, name: str) -> None:
        """Withdraw receipt and failure record of a node that is about to be done again.

        The receipt goes before the arrays are replaced: it must never stand beside arrays that are not
        its own.
        """
        self.receipt(stage, name).unlink(missing_ok=True)
        self.failure(stage, name).unlink(missing_ok=True)

    def drop(self, receipt: Receipt) -> None:
        """Remove the group of a node that is done, and say so in its receipt."""
        remove(self.group(receipt.stage, receipt.name))
        # A run that dies here leaves a receipt without its group, which counts for nothing.
        emptied = replace(receipt, group="", size=0, files=0, dropped=True)
        atomic.write(self.receipt(receipt.stage, receipt.name), emptied.to_json())

    def inventory(self, *, verify: bool = True) -> Inventory:
        """What is done and what failed: one listing of each folder, then the receipts that it shows.

        Parameters
        ----------
        verify : bool
            Also compare the size and number of files of every group with what its receipt says.
        """
        receipts: dict[tuple[str, str], Receipt] = {}
        broken: dict[tuple[str, str], str] = {}
        failures: dict[tuple[str, str], FailureRecord] = {}
        with ThreadPoolExecutor(_READERS) as readers:  # mostly waiting, on a network file system above all
            for stage, folder in STAGE_FOLDERS.items():
                listed = {entry.name for entry in _scan(self.path / folder) if not entry.name.startswith(".")}
                failed = [name.removesuffix(_FAILED) for name in listed if name.endswith(_FAILED)]
                paths = (self.failure(stage, name) for name in failed)
                for name, record in zip(failed, readers.map(read_failure, paths), strict=True):
                    if record is not None:
                        failures[stage, name] = record
                jsons = (name for name in listed if name.endswith(".json") and not name.endswith(_FAILED))
                done = [name.removesuffix(".json") for name in jsons]
                examined = readers.map(self._examine, repeat(stage), done, repeat(verify))
                for name, found in zip(done, examined, strict=True):
                    if isinstance(found, Receipt):
                        receipts[stage, name] = found
                    else:
                        broken[stage, name] = found
        return Inventory(receipts, broken, failures)

    def sweep(
        self, keep_partials: frozenset[str] | None = None, keep_stacked: frozenset[str] | None = None
    ) -> int:
        """Remove what attempts that died left, and stacks that nobody asks for.

        Only for the holder of the run's lock.

        Parameters
        ----------
        keep_partials : frozenset of str, optional
            Keys of the partial stacks to keep; None keeps all that have a receipt.
        keep_stacked : frozenset of str, optional
            Likewise names of stacked datasets: of observations that are grouped anew, the former groups would only
            mislead.

        Returns
        -------
        removed : int
            How many things were removed.
        """
        removed = 0
        kept = {"stack": keep_partials, "finish": keep_stacked}
        for stage, folder in STAGE_FOLDERS.items():
            wanted = kept.get(stage)
            entries = list(_scan(self.path / folder))
            names = {entry.name for entry in entries}
            for entry in entries:
                stem = entry.name.removesuffix(".zarr").removesuffix(_FAILED).removesuffix(".json")
                unreceipted = entry.name.endswith(".zarr") and f"{stem}.json" not in names
                unwanted = wanted is not None and stem not in wanted
                if entry.name.startswith(".") or unreceipted or unwanted:
                    remove(Path(entry.path))
                    removed += 1
        return removed

    def clear(self) -> None:
        """Remove everything of the run, and nothing else, from the folder."""
        for path in (
            self.plan,
            self.config,
            self.events,
            self.fits,
            *(self.path / name for name in STAGE_FOLDERS.values()),
        ):
            remove(path)

    def _examine(self, stage: str, name: str, verify: bool) -> Receipt | str:
        receipt = read_receipt(self.receipt(stage, name))
        if receipt is None:
            return "its receipt cannot be read"
        if receipt.group and verify:
            found = measure(self.path / receipt.group)
            if found != (receipt.size, receipt.files):
                return (
                    f"{receipt.group} holds {found[0]} bytes in {found[1]} files, "
                    f"its receipt says {receipt.size} in {receipt.files}"
                )
        return receipt


def measure(group: Path) -> tuple[int, int]:
    """Bytes and number of files below a folder; (0, 0) if it is not there."""
    size = files = 0
    for entry in _scan(group):
        if entry.is_dir(follow_symlinks=False):
            below = measure(Path(entry.path))
            size, files = size + below[0], files + below[1]
        else:
            size, files = size + entry.stat(follow_symlinks=False).st_size, files + 1
    return size, files


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there.

    A folder is renamed first, so that nobody finds half of it under its name.
    """
    if path.is_dir() and not path.is_symlink():
        doomed = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
