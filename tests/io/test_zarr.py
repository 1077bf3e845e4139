"""Datasets and partial sums on disk: what is written is what is read, and damage is noticed."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import HealthCheck, given, settings

from gammaflow.datasets import MapDataset, Partial, combine, finish, lift
from gammaflow.errors import (
    CorruptFileError,
    MissingFileError,
    SchemaError,
    StorageError,
    UnsupportedError,
)
from gammaflow.io import LocalFolders, read_dataset, read_digest, read_partial, write_dataset, write_partial
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import datasets, part_of, random_dataset, whole_geometry

WHOLE = whole_geometry()
quick = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def dataset() -> MapDataset:
    return random_dataset(part_of(WHOLE, 5.0, 6.0, 3.0), 1, "obs-1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "obs-1.zarr"


def assert_same(one: MapDataset, two: MapDataset) -> None:
    assert one.data.identical(two.data)
    assert one.geometry == two.geometry
    for name, variable in one.data.variables.items():
        assert variable.dtype == two.data.variables[name].dtype, name
        assert variable.values.tobytes() == two.data.variables[name].values.tobytes(), name


class TestRoundTrip:
    @quick
    @given(datasets(WHOLE))
    def test_reading_is_the_inverse_of_writing(self, tmp_path, dataset):
        path = tmp_path / "any.zarr"
        written = write_dataset(dataset, path, overwrite=True)
        back = read_dataset(path)
        assert_same(dataset, back)
        assert write_dataset(back, path, overwrite=True) == written

    @pytest.mark.parametrize(
        "geometry",
        [
            whole_geometry(migra=True),
            whole_geometry(proj="TAN", frame="icrs", lon=83.6),
            whole_geometry(binsz_irf=3.0),
        ],
    )
    def test_other_geometries(self, geometry, path):
        dataset = random_dataset(geometry, 3)
        write_dataset(dataset, path)
        assert_same(dataset, read_dataset(path))

    def test_an_empty_dataset(self, path):
        dataset = MapDataset.create(WHOLE, name="nothing")
        write_dataset(dataset, path)
        back = read_dataset(path)
        assert_same(dataset, back)
        assert len(back.gti) == len(back.observations) == 0

    def test_a_dataset_with_few_quantities(self, dataset, path):
        little = dataset.with_arrays(psf=None, psf_exposure=None, background=None)
        write_dataset(little, path)
        assert_same(little, read_dataset(path))

    def test_models_come_back(self, dataset, path):
        dataset.models = FoVBackgroundModel(dataset_name=dataset.name)
        dataset.models.spectral_model.norm.value = 1.0 / 3.0
        dataset.models.spectral_model.norm.error = 0.1
        write_dataset(dataset, path)
        back = read_dataset(path)
        assert back.models.to_dict() == dataset.models.to_dict()
        np.testing.assert_array_equal(back.npred_background(), dataset.npred_background())

    def test_what_was_read_can_be_changed(self, dataset, path):
        write_dataset(dataset, path)
        for _ in range(2):  # small arrays are remembered, but not handed out
            back = read_dataset(path)
            for name in ("counts", "gti_start", "obs_id"):
                assert back.data[name].values.any()
                back.data[name].values[...] = 0

    def test_the_workspace_is_not_written(self, dataset, path):
        dataset._workspace = object()
        write_dataset(dataset, path)
        assert read_dataset(path)._workspace is None

    @quick
    @given(datasets(WHOLE), datasets(WHOLE))
    def test_partial_sums_keep_every_bit(self, tmp_path, one, two):
        path = tmp_path / "partial.zarr"
        partial = combine([lift(one, WHOLE), lift(two, WHOLE)])
        write_partial(partial, path, overwrite=True)
        back = read_partial(path)
        assert set(back.sums) == set(partial.sums)
        for name, values in partial.sums.items():
            assert (values.dtype, values.shape) == (back.sums[name].dtype, back.sums[name].shape)
            assert values.tobytes() == back.sums[name].tobytes(), name
        assert (back.parent, back.box, back.meta) == (partial.parent, partial.box, partial.meta)
        assert back.observations == partial.observations
        assert finish(back).data.identical(finish(partial).data)

    def test_the_empty_partial(self, path):
        write_partial(Partial(WHOLE), path)
        assert read_partial(path).box is None

    def test_paths_may_be_strings(self, dataset, path):
        write_dataset(dataset, str(path))
        assert_same(dataset, read_dataset(str(path)))
        other = str(path).replace("obs-1", "obs-2")
        dataset.write(other)
        assert_same(dataset, MapDataset.read(other))

    def test_an_unknown_ending_is_refused(self, dataset, tmp_path):
        with pytest.raises(UnsupportedError, match=r"\.zarr"):
            dataset.write(tmp_path / "dataset.parquet")


class TestForOthers:
    """What a stranger sees who has xarray or zarr and nothing else."""

    def test_xarray_shows_everything(self, dataset, path):
        write_dataset(dataset, path)
        with xr.open_zarr(path, consolidated=False) as seen:
            assert set(seen.data_vars) == set(dataset.data.data_vars)
            assert set(seen.coords) == set(dataset.data.coords)
            for name, variable in dataset.data.variables.items():
                assert seen[name].dims == variable.dims
                assert seen[name].dtype == variable.dtype
                np.testing.assert_array_equal(seen[name].values, variable.values)
                assert dict(seen[name].attrs) == dict(variable.attrs)
            assert seen["exposure"].attrs["units"] == "m2 s"
            assert seen["energy"].attrs["units"] == "TeV"
            assert seen["wcs"].attrs["CTYPE1"] == "GLON-CAR"
            assert seen["counts"].attrs["grid_mapping"] == "wcs"
            assert seen["gti_start"].attrs["reference_time"].startswith("2001-01-01T00:01:04.184")
            assert seen.attrs["name"] == "obs-1"
            assert seen["counts"].sel(energy=1.0, method="nearest").sum() > 0

    def test_the_layout_is_one_chunk_an_array_compressed_and_checked(self, path):
        dataset = random_dataset(whole_geometry(binsz_irf=0.5), 1)
        write_dataset(dataset, path)
        group = zarr.open_group(path, mode="r")
        codecs = {
            n: [c["name"] for c in group[n].metadata.to_dict()["codecs"]] for n in ("psf", "counts", "energy")
        }
        assert codecs == {
            "psf": ["bytes", "blosc", "crc32c"], "counts": ["bytes", "blosc", "crc32c"], "energy": ["bytes",
            "crc32c"],
        }  # fmt: skip
        blosc = group["psf"].metadata.to_dict()["codecs"][1]["configuration"]
        assert (blosc["cname"], blosc["clevel"], blosc["shuffle"], blosc["typesize"]) == (
            "lz4",
            5,
            "shuffle",
            4,
        )
        assert group["psf"].chunks == group["psf"].shape
        assert not list(path.rglob(".*")), "no temporary files are left"

    def test_chunks_are_what_zarr_python_makes_of_the_values(self, tmp_path):
        dataset = random_dataset(whole_geometry(binsz_irf=0.5), 1)
        write_dataset(dataset, tmp_path / "ours.zarr")
        ours = zarr.open_group(tmp_path / "ours.zarr", mode="r")
        theirs = zarr.create_group(tmp_path / "theirs.zarr")

        def write_in_a_thread() -> None:  # in the main one blosc has threads of its own
            for name, array in ours.arrays():
                metadata = array.metadata.to_dict()
                zarr.create_array(
                    theirs.store,
                    name=name,
                    data=array[...],
                    chunks=array.chunks,
                    filters=[],
                    compressors=metadata["codecs"][1:],
                    chunk_key_encoding=metadata["chunk_key_encoding"],
                    config={"write_empty_chunks": True},
                )

        thread = threading.Thread(target=write_in_a_thread)
        thread.start()
        thread.join()
        chunks = [
            f.relative_to(tmp_path / "ours.zarr") for f in (tmp_path / "ours.zarr").rglob("c*") if f.is_file()
        ]
        assert len(chunks) > 30
        assert sum((tmp_path / "ours.zarr" / chunk).stat().st_size > 2048 for chunk in chunks) > 3
        for chunk in chunks:
            assert (tmp_path / "ours.zarr" / chunk).read_bytes() == (
                tmp_path / "theirs.zarr" / chunk
            ).read_bytes(), chunk

    def test_a_chunk_of_zeros_is_written_too(self, dataset, path):
        write_dataset(dataset.with_arrays(counts=np.zeros_like(dataset.array("counts"))), path)
        assert (path / "counts" / "c.0.0.0").is_file()


class TestReceipt:
    def test_it_says_what_is_on_disk(self, dataset, path):
        receipt = write_dataset(dataset, path)
        files = [f for f in path.rglob("*") if f.is_file()]
        assert receipt.files == len(files)
        assert receipt.bytes == sum(f.stat().st_size for f in files)
        assert set(receipt.digest) == set(map(str, dataset.data.variables))
        assert read_digest(path) == receipt.digest

    def test_equal_bits_give_equal_digests_and_one_bit_another(self, dataset, tmp_path):
        one = write_dataset(dataset, tmp_path / "one.zarr")
        two = write_dataset(dataset.copy(), tmp_path / "two.zarr")
        assert one == two
        changed = dataset.copy()
        values = changed.data["exposure"].values
        values[0, 0, 0] = np.nextafter(values[0, 0, 0], np.float32(np.inf))
        three = write_dataset(changed, tmp_path / "three.zarr")
        assert [n for n in one.digest if one.digest[n] != three.digest[n]] == ["exposure"]

    def test_digests_do_not_depend_on_the_thread_or_the_process(self, tmp_path):
        """Blosc lays out a chunk by the order in which its threads finish, so it must have one."""
        geometry = whole_geometry(binsz_irf=0.05)
        dataset = random_dataset(geometry, 5)
        assert dataset.array("psf").nbytes > 1_000_000
        here = write_dataset(dataset, tmp_path / "here.zarr")
        there = []
        thread = threading.Thread(
            target=lambda: there.append(write_dataset(dataset, tmp_path / "there.zarr"))
        )
        thread.start()
        thread.join()
        assert [here] == there
        target = str(tmp_path / "process.zarr")
        code = (
            "from tests.datasets.small import random_dataset, whole_geometry\n"
            "from gammaflow.io import write_dataset\n"
            "dataset = random_dataset(whole_geometry(binsz_irf=0.05), 5)\n"
            f"print(*sorted(write_dataset(dataset, {target!r}).digest.values()))"
        )
        root = Path(__file__).resolve().parents[2]
        out = subprocess.run(
            [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
        )
        assert out.stdout.split() == sorted(here.digest.values())

    def test_it_works_within_a_running_loop(self, dataset, path):
        async def notebook() -> MapDataset:
            write_dataset(dataset, path)
            return read_dataset(path)

        assert_same(dataset, asyncio.run(notebook()))

    def test_many_threads_write_at_once(self, tmp_path):
        operands = [random_dataset(WHOLE, n) for n in range(6)]
        threads = [
            threading.Thread(target=write_dataset, args=(d, tmp_path / f"{d.name}.zarr")) for d in operands
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for d in operands:
            assert_same(d, read_dataset(tmp_path / f"{d.name}.zarr"))


def edit_attributes(path: Path, **changes: object) -> None:
    group = json.loads((path / "zarr.json").read_text())
    group["attributes"].update(changes)
    (path / "zarr.json").write_text(json.dumps(group))


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


class TestDamage:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda p: (p / "counts/c.0.0.0").unlink(), "counts: chunk c.0.0.0 is missing"),
            (lambda p: (p / "obs_id/c.0").unlink(), "obs_id: chunk c.0 is missing"),
            (lambda p: cut(p / "psf/c.0.0.0.0"), "psf: its values cannot be read"),
            (lambda p: cut(p / "livetime/c.0"), "livetime: its values cannot be read"),
            (lambda p: (p / "psf/c.0.0.0.0").write_bytes(b""), "psf: its values cannot be read"),
            (lambda p: flip(p / "exposure/c.0.0.0", 40), "exposure: its values cannot be read.*checksum"),
            (lambda p: flip(p / "energy/c.0", 3), "energy: its values cannot be read.*checksum"),
            (lambda p: flip(p / "counts/c.0.0.0", -1), "counts: its values cannot be read.*checksum"),
            (lambda p: (p / "psf/zarr.json").unlink(), "psf: its metadata are missing"),
            (lambda p: shutil.rmtree(p / "psf"), "psf: its metadata are missing"),
            (lambda p: (p / "psf/zarr.json").write_text("{"), "psf: its metadata cannot be read"),
            (lambda p: (p / "psf/zarr.json").write_text("{}"), "psf: its metadata cannot be read"),
            (lambda p: (p / "zarr.json").unlink(), "zarr.json is missing"),
            (lambda p: (p / "zarr.json").write_text('{"zarr_format": 3'), "zarr.json cannot be read"),
            (lambda p: (p / "zarr.json").write_text("[]"), "zarr.json cannot be read"),
            (lambda p: edit_attributes(p, crc32c=None), "does not say what it holds"),
        ],
    )
    def test_it_is_noticed_and_named(self, dataset, path, damage: Callable[[Path], None], message):
        write_dataset(dataset, path)
        read_dataset(path)
        damage(path)
        with pytest.raises(CorruptFileError, match=message) as error:
            read_dataset(path)
        assert str(path) in str(error.value)
        assert "write it again" in str(error.value)

    def test_every_flipped_bit_of_a_chunk_is_noticed(self, dataset, path):
        write_dataset(dataset, path)
        chunk = path / "edisp" / "c.0.0.0.0"
        for place in range(0, chunk.stat().st_size, max(1, chunk.stat().st_size // 40)):
            flip(chunk, place)
            with pytest.raises(CorruptFileError):
                read_dataset(path)
            flip(chunk, place)
        read_dataset(path)

    def test_another_version_of_the_schema(self, dataset, path):
        write_dataset(dataset, path)
        edit_attributes(path, schema_version=99)
        with pytest.raises(SchemaError, match="version 99"):
            read_dataset(path)

    def test_another_kind_of_group(self, dataset, path, tmp_path):
        write_partial(lift(dataset, WHOLE), path)
        with pytest.raises(SchemaError, match="'Partial' is not MapDataset"):
            read_dataset(path)
        write_dataset(dataset, tmp_path / "d.zarr")
        with pytest.raises(SchemaError, match="'MapDataset' is not Partial"):
            read_partial(tmp_path / "d.zarr")

    def test_a_stranger_s_group(self, path):
        xr.Dataset({"a": ("x", [1, 2])}).to_zarr(path, consolidated=False, zarr_format=3)
        with pytest.raises(SchemaError, match="schema version None"):
            read_dataset(path)

    def test_nothing_there(self, path):
        with pytest.raises(MissingFileError, match="no such group"):
            read_dataset(path)

    def test_a_file_in_its_place(self, path):
        path.write_text("not a folder")
        with pytest.raises(CorruptFileError, match="not a Zarr group"):
            read_dataset(path)

    def test_a_dataset_that_departs_from_the_schema_is_not_written(self, dataset, path):
        dataset.data["surprise"] = ("y", np.zeros(dataset.geom.shape_image[0]))
        with pytest.raises(SchemaError, match="surprise"):
            write_dataset(dataset, path)
        assert not path.exists()


class TestAtomic:
    def test_what_is_there_stays_unless_it_may_be_replaced(self, dataset, path):
        write_dataset(dataset, path)
        with pytest.raises(StorageError, match="there already"):
            write_dataset(random_dataset(WHOLE, 2), path)
        assert_same(dataset, read_dataset(path))
        other = random_dataset(WHOLE, 2)
        write_dataset(other, path, overwrite=True)
        assert_same(other, read_dataset(path))
        assert os.listdir(path.parent) == [path.name]

    @pytest.mark.parametrize("failure", [errno.ENOSPC, errno.EACCES, errno.EIO, KeyboardInterrupt])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_write_that_fails_leaves_nothing_behind(self, dataset, path, monkeypatch, failure, overwrite):
        former = random_dataset(WHOLE, 2)
        if overwrite:
            write_dataset(former, path)
        real, calls = os.mkdir, []

        def mkdir(name: str, *args: object, **kwargs: object) -> None:
            calls.append(name)
            if len(calls) == 5:
                raise (
                    KeyboardInterrupt
                    if failure is KeyboardInterrupt
                    else OSError(failure, os.strerror(failure))
                )
            real(name, *args, **kwargs)

        monkeypatch.setattr(os, "mkdir", mkdir)
        expected = {errno.EIO: OSError, KeyboardInterrupt: KeyboardInterrupt}.get(failure, StorageError)
        with pytest.raises(expected) as error:
            write_dataset(dataset, path, overwrite=overwrite)
        if expected is StorageError:
            assert str(path) in str(error.value)
            assert "MB free" in str(error.value)
        monkeypatch.undo()
        assert os.listdir(path.parent) == ([path.name] if overwrite else [])
        if overwrite:
            assert_same(former, read_dataset(path))

    def test_a_process_that_dies_leaves_the_former_group(self, dataset, path):
        write_dataset(dataset, path)
        code = (
            "import os, sys\n"
            "from gammaflow.io import write_dataset\n"
            "from tests.datasets.small import random_dataset, whole_geometry\n"
            "dataset, real, calls = random_dataset(whole_geometry(), 2), os.mkdir, []\n"
            "def mkdir(name, *args, **kwargs):\n"
            "    calls.append(name)\n"
            "    os._exit(9) if len(calls) == 5 else real(name, *args, **kwargs)\n"
            "os.mkdir = mkdir\n"
            f"write_dataset(dataset, {str(path)!r}, overwrite=True)\n"
        )
        root = Path(__file__).resolve().parents[2]
        assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 9
        assert_same(dataset, read_dataset(path))
        left = [n for n in os.listdir(path.parent) if n != path.name]
        assert len(left) == 1
        assert left[0].startswith(".tmp-")

    def test_a_full_disk(self, tmp_path):
        """On a file system of 1 MB, where this machine lets us make one."""
        small = tmp_path / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("needs the right to mount a small file system")
        try:
            big = random_dataset(whole_geometry(binsz_irf=0.05), 1)
            with pytest.raises(StorageError, match="no space is left") as error:
                write_dataset(big, small / "d.zarr")
            assert "MB to write" in str(error.value)
            assert os.listdir(small) == []
        finally:
            subprocess.run(["umount", str(small)], check=True)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_no_permission(self, dataset, tmp_path):
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        with pytest.raises(StorageError, match="permission denied"):
            write_dataset(dataset, closed / "d.zarr")

    def test_folders_on_the_way_are_made(self, dataset, tmp_path):
        path = tmp_path / "a" / "b" / "d.zarr"
        write_dataset(dataset, path)
        assert LocalFolders().exists(path)

    def test_a_file_in_the_way(self, dataset, tmp_path):
        (tmp_path / "a").write_text("file")
        with pytest.raises(StorageError, match="a file stands"):
            write_dataset(dataset, tmp_path / "a" / "d.zarr")
        write_dataset(dataset, tmp_path / "a", overwrite=True)
        assert_same(dataset, read_dataset(tmp_path / "a"))


def test_another_store_can_take_the_place_of_folders(dataset):
    class Drawer:
        """Keeps groups in memory."""

        def __init__(self) -> None:
            self.groups: dict[Path, dict[str, bytes]] = {}

        def put(self, path: Path, files: dict[str, memoryview], *, overwrite: bool) -> None:
            self.groups[path] = {key: bytes(content) for key, content in files.items()}

        def get(self, path: Path, *, only: str | None = None) -> dict[str, bytes]:
            return {k: v for k, v in self.groups[path].items() if only is None or k == only}

        def exists(self, path: Path) -> bool:
            return path in self.groups

    drawer = Drawer()
    write_dataset(dataset, "s3/obs-1.zarr", store=drawer)
    assert_same(dataset, read_dataset("s3/obs-1.zarr", store=drawer))
