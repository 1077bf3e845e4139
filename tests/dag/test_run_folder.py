"""The run folder: what counts as done, and what is swept."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammaflow.dag import atomic
from gammaflow.dag.receipts import (
    DatasetNumbers,
    FailureRecord,
    Receipt,
    read_failure,
    read_receipt,
    write_receipt,
)
from gammaflow.dag.run_folder import RunFolder, measure
from gammaflow.errors import StorageError

NUMBERS = st.floats(allow_nan=True, allow_infinity=False)


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    return folder


def commit(folder: RunFolder, stage: str, name: str, key: str = "k") -> Receipt:
    group = folder.group(stage, name)
    (group / "counts").mkdir(parents=True, exist_ok=True)
    (group / "zarr.json").write_text("{}")
    (group / "counts" / "c0").write_bytes(b"12345678")
    size, files = measure(group)
    receipt = Receipt(stage, name, key, str(group.relative_to(folder.path)), {"counts": "00"}, size, files)
    return write_receipt(folder.receipt(stage, name), receipt)


@given(
    st.text(),
    st.dictionaries(st.text(), st.text()),
    st.lists(st.tuples(st.text(), st.integers(), st.integers())),
    NUMBERS,
    NUMBERS,
)
def test_receipts_survive_the_way_through_json(name, arrays, inputs, counts, exposure):
    receipt = Receipt(
        "reduce",
        name,
        "key",
        arrays=arrays,
        inputs=tuple(inputs),
        summary=DatasetNumbers("d", counts=counts, exposure_min=exposure),
        warnings=("w",),
    )
    back = Receipt.from_json(receipt.to_json())
    assert repr(back) == repr(receipt)  # repr: NaN is not equal to itself
    json.loads(receipt.to_json(), parse_constant=pytest.fail)  # NaN and infinities are no JSON


def test_failure_records_survive_the_way_through_json():
    record = FailureRecord(
        "reduce", "7", "k", "CorruptFileError", "bad", "a.fits", "copy", "Traceback", 3, "h", "w", "t"
    )
    assert FailureRecord.from_json(record.to_json()) == record
    assert record.reason == "CorruptFileError: a.fits: bad"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 99}', '{"format": 1, "stage": "reduce"}', "\x00"]
)
def test_what_is_no_receipt_proves_nothing(folder, text):
    folder.receipt("reduce", "1").write_text(text)
    assert read_receipt(folder.receipt("reduce", "1")) is None
    assert folder.inventory().broken == {("reduce", "1"): "its receipt cannot be read"}
    assert read_failure(folder.receipt("reduce", "1")) is None


def test_the_inventory_finds_receipts_failures_and_nothing_else(folder):
    receipt = commit(folder, "reduce", "1")
    commit(folder, "finish", "stacked")
    record = FailureRecord("reduce", "2", "k", "E", "m")
    atomic.write(folder.failure("reduce", "2"), record.to_json())
    (folder.path / "observations" / ".tmp-x").write_text("garbage")
    (folder.path / "observations" / "3.zarr").mkdir()
    found = folder.inventory()
    assert set(found.receipts) == {("reduce", "1"), ("finish", "stacked")}
    assert found.receipts["reduce", "1"] == receipt
    assert found.failures == {("reduce", "2"): record}
    assert found.broken == {}


def test_an_empty_place_is_an_empty_inventory(tmp_path):
    found = RunFolder(tmp_path / "nothing").inventory()
    assert not found.receipts
    assert not found.failures


@pytest.mark.parametrize("damage", ["file gone", "file shorter", "file more", "group gone"])
def test_a_group_that_is_not_as_its_receipt_says_is_broken(folder, damage):
    commit(folder, "reduce", "1")
    group = folder.group("reduce", "1")
    match damage:
        case "file gone":
            (group / "zarr.json").unlink()
        case "file shorter":
            (group / "counts" / "c0").write_bytes(b"1234567")
        case "file more":
            (group / "more").write_text("x")
        case "group gone":
            group.rename(folder.path / "elsewhere")
    found = folder.inventory()
    assert not found.receipts
    assert "observations/1.zarr holds" in found.broken["reduce", "1"]
    assert ("reduce", "1") in folder.inventory(verify=False).receipts


def test_the_sweep_takes_what_has_no_receipt_and_leaves_the_rest(folder):
    commit(folder, "reduce", "1")
    commit(folder, "stack", "aa")
    commit(folder, "stack", "bb")
    orphan = folder.group("reduce", "2")
    orphan.mkdir()
    (orphan / "x").write_text("x")
    (folder.path / "stacked" / ".tmp-123").mkdir()
    folder.config.write_text("kept")
    (folder.path / "observations" / "note.txt").write_text("a person's")
    assert folder.sweep() == 2
    assert set(folder.inventory().receipts) == {("reduce", "1"), ("stack", "aa"), ("stack", "bb")}
    assert folder.sweep(frozenset({"bb"})) == 2  # group and receipt
    assert set(folder.inventory().receipts) == {("reduce", "1"), ("stack", "bb")}
    assert folder.config.exists()
    assert (folder.path / "observations" / "note.txt").exists()


def test_clearing_removes_the_run_and_nothing_else(folder):
    commit(folder, "reduce", "1")
    (folder.path / "notes.md").write_text("a person's")
    folder.clear()
    assert [path.name for path in folder.path.iterdir()] == ["notes.md"]


def test_forgetting_withdraws_the_receipt_first(folder):
    commit(folder, "reduce", "1")
    folder.forget("reduce", "1")
    assert not folder.receipt("reduce", "1").exists()
    assert folder.group("reduce", "1").exists()


def test_paths_mean_the_same_to_workers_with_another_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunFolder("run").receipt("reduce", "7") == tmp_path / "run" / "observations" / "7.json"


def test_of_two_attempts_the_first_receipt_stands(folder):
    path = folder.receipt("reduce", "1")
    first = Receipt("reduce", "1", "k", arrays={"a": "1"}, worker="first")
    assert write_receipt(path, first) == first
    assert write_receipt(path, dataclasses.replace(first, worker="second")) == first
    other = dataclasses.replace(first, key="new", worker="third")
    assert write_receipt(path, other) == other
    assert read_receipt(path) == other


def test_only_one_of_many_creates_a_file(tmp_path):
    path = tmp_path / "file"
    barrier = threading.Barrier(8)
    wins: list[bool] = []

    def attempt(number: int) -> None:
        barrier.wait(timeout=30)
        wins.append(atomic.create(path, f"{number}"))

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert wins.count(True) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("function", [atomic.write, atomic.create])
def test_what_cannot_be_written_is_a_storage_error_and_leaves_nothing(
    tmp_path, monkeypatch, function, number
):
    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="Make room"):
        function(tmp_path / "file", "text")
    assert list(tmp_path.iterdir()) == []


def test_nan_is_null_and_comes_back():
    text = Receipt("reduce", "1", "k", summary=DatasetNumbers("d")).to_json()
    assert json.loads(text)["summary"]["exposure_min"] is None
    back = Receipt.from_json(text)
    assert back.summary is not None
    assert math.isnan(back.summary.exposure_min)
