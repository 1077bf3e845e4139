"""Data stores: indices as they are found in the wild, and what they name that is not there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from gammaflow.data import DataStore
from gammaflow.errors import ConfigError, CorruptFileError, MissingFileError, MissingHduError

IDS = [100001, 100002, 100003]


def change_hdu_index(folder: Path, change: Callable[[Table], Table]) -> None:
    path = folder / "hdu-index.fits.gz"
    change(Table.read(path)).write(path, overwrite=True)


def test_a_folder_reads_with_both_indices(store_folder: Path) -> None:
    store = DataStore.from_dir(store_folder)
    assert store.obs_ids == IDS
    assert store.obs_table is not None
    assert store.obs_table["OBS_ID"].tolist() == IDS
    assert str(store.obs_table["RA_PNT"].unit) == "deg"
    assert store.obs_table.meta["MJDREFI"] == 60000
    assert len(store.hdu_table) == 18
    files = store.locate(IDS[0])
    assert files.ra_pnt == pytest.approx(files.open().pointing.ra)
    assert [hdu.hdu_type for hdu in files.hdus] == ["events", "gti", "aeff", "edisp", "psf", "bkg"]
    assert "3 observations" in repr(store)


def upper(table: Table) -> Table:
    for name in ("HDU_TYPE", "HDU_CLASS", "HDU_NAME"):
        table[name] = np.char.upper(np.asarray(table[name]).astype(str))
    return table


def without_file_dir(table: Table) -> Table:
    table["FILE_NAME"] = [f"{row['FILE_DIR']}/{row['FILE_NAME']}" for row in table]
    del table["FILE_DIR"]
    return table


def blank_file_dir(table: Table) -> Table:
    table = without_file_dir(table)
    table["FILE_DIR"] = " "
    return table


def variable_in_file_dir(table: Table) -> Table:
    table["FILE_DIR"] = [f"$STORE_OF_THE_TEST/{name}" for name in table["FILE_DIR"]]
    return table


def with_a_second_psf(table: Table) -> Table:
    table.add_row({**dict(table[-2]), "HDU_NAME": "ANOTHER PSF"})
    return table


@pytest.mark.parametrize(
    "change",
    [upper, without_file_dir, blank_file_dir, variable_in_file_dir, with_a_second_psf],
    ids=lambda change: change.__name__,
)
def test_indices_are_understood_as_they_come(
    store_folder: Path, change: Callable[[Table], Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE_OF_THE_TEST", str(store_folder))
    change_hdu_index(store_folder, change)
    store = DataStore.from_dir(store_folder)
    assert store.missing_files() == {}
    for obs_id in IDS:
        observation = store.obs(obs_id)
        assert observation.missing_irfs == ()
        assert observation.psf.axis("offset").nbin == 6
        assert len(observation.events) > 0


def test_plain_and_named_indices_are_found(store_folder: Path) -> None:
    for name in ("hdu-index", "obs-index"):
        table = Table.read(store_folder / f"{name}.fits.gz")
        (store_folder / f"{name}.fits.gz").unlink()
        table.write(store_folder / f"{name}.fits")
    assert DataStore.from_dir(store_folder).obs_index.obs_id.tolist() == IDS
    (store_folder / "hdu-index.fits").rename(store_folder / "my-hdus.fits")
    (store_folder / "obs-index.fits").rename(store_folder.parent / "my-obs.fits")
    store = DataStore.from_dir(store_folder, "my-hdus.fits", store_folder.parent / "my-obs.fits")
    assert len(store.obs(IDS[1]).events) > 0
    with pytest.raises(MissingFileError, match=r"there is no hdu-index.fits.gz in this folder"):
        DataStore.from_dir(store_folder)
    with pytest.raises(MissingFileError, match=r"other.fits: there is no such file"):
        DataStore.from_dir(store_folder, "my-hdus.fits", "other.fits")


def test_one_file_may_hold_both_indices(store_folder: Path) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for name in ("hdu-index", "obs-index"):
        with fits.open(store_folder / f"{name}.fits.gz") as found:
            hdus.append(found[1].copy())
    hdus.writeto(store_folder / "index.fits")
    store = DataStore.read(store_folder / "index.fits")
    assert len(store.obs(IDS[2]).events) > 0
    assert DataStore.from_file(store_folder / "index.fits", hdu_obs=None).obs_table is None


def test_a_store_without_observation_index_works_by_ids(store_folder: Path) -> None:
    (store_folder / "obs-index.fits.gz").unlink()
    store = DataStore.from_dir(store_folder)
    assert store.obs_table is None
    assert store.locate(IDS[0]).ra_pnt is None
    with pytest.raises(MissingFileError, match=r"there is no obs-index.fits.gz"):
        _ = store.obs_index


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="there is no such folder"):
        DataStore.from_dir(tmp_path / "nowhere")


def test_a_damaged_index_is_refused(store_folder: Path) -> None:
    path = store_folder / "hdu-index.fits.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptFileError, match=r"hdu-index.fits.gz: the file is truncated"):
        DataStore.from_dir(store_folder)
    change = Table({"OBS_ID": [1]})
    change.write(path, overwrite=True)
    with pytest.raises(MissingHduError, match="no column 'HDU_TYPE'; the table has OBS_ID"):
        DataStore.from_dir(store_folder)


def test_what_is_not_listed_is_said(store_folder: Path) -> None:
    change_hdu_index(
        store_folder, lambda t: t[~((t["OBS_ID"] == IDS[1]) & (np.char.strip(t["HDU_TYPE"]) == "bkg"))]
    )
    store = DataStore.from_dir(store_folder)
    with pytest.raises(MissingHduError, match="observation 5: the HDU index does not list it"):
        store.locate(5)
    with pytest.raises(MissingHduError, match=f"observation {IDS[1]}: the index names no bkg for it"):
        store.obs(IDS[1])
    assert store.obs(IDS[1], required_irf="point-like").missing_irfs == ("bkg",)
    assert store.obs(IDS[1], required_irf=["aeff"]).obs_id == IDS[1]
    with pytest.raises(ConfigError, match="required_irf has background"):
        store.obs(IDS[1], required_irf=["background"])
    with pytest.raises(ConfigError, match="required_irf is 'full'"):
        store.obs(IDS[1], required_irf="full")


def test_get_observations_names_every_missing_file(
    store_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = DataStore.from_dir(store_folder)
    lost = [Path(store.locate(obs_id).find("events").path) for obs_id in IDS[:2]]
    for path in lost:
        path.unlink()
    with pytest.raises(MissingFileError, match="files of 2 of 3 observations are not there") as caught:
        store.get_observations()
    assert all(str(path) in str(caught.value) for path in lost)
    with caplog.at_level(logging.WARNING):
        assert [o.obs_id for o in store.get_observations([*IDS, 9], skip_missing=True)] == IDS[2:]
    for obs_id in (*IDS[:2], 9):
        assert f"observation {obs_id}" in caplog.text
    with pytest.raises(MissingHduError, match="observation 9"):
        store.get_observations([9])


def test_get_observations_reads_nothing_yet_and_keeps_the_order(
    store_folder: Path, events_path: Path
) -> None:
    observations = DataStore.from_dir(store_folder).get_observations([IDS[2], IDS[0]])
    assert [observation.obs_id for observation in observations] == [IDS[2], IDS[0]]
    events_path.write_bytes(b"")
    with pytest.raises(CorruptFileError, match=f"observation {IDS[0]}"):
        _ = observations[1].gti


def test_event_files_alone_make_a_store(store_folder: Path) -> None:
    paths = sorted((store_folder / "events").glob("*.fits"))
    store = DataStore.from_events_files(paths, store_folder / "irfs" / "cta_like.fits")
    assert store.obs_ids == IDS
    whole = DataStore.from_dir(store_folder)
    np.testing.assert_array_equal(store.obs_index.start, whole.obs_index.start)
    np.testing.assert_array_equal(store.obs_index.ra, whole.obs_index.ra)
    for obs_id in IDS:
        assert store.obs(obs_id).psf is whole.obs(obs_id).psf
    assert store.obs_table is not None
    with pytest.raises(MissingHduError, match="the file holds no responses"):
        DataStore.from_events_files(paths)
    with pytest.raises(ConfigError, match="there are 3 event files and 1 response files"):
        DataStore.from_events_files(paths, [store_folder / "irfs" / "cta_like.fits"])


def test_an_observation_number_must_be_unique(store_folder: Path) -> None:
    path = next((store_folder / "events").glob("*.fits"))
    with pytest.raises(Exception, match=r"several event files have OBS_ID 10000\d"):
        DataStore.from_events_files([path, path], store_folder / "irfs" / "cta_like.fits")


def test_hess_lists_105_observations_of_which_37_are_not_there(gammapy_data: Path) -> None:
    store = DataStore.from_dir("$GAMMAPY_DATA/hess-dl3-dr1")
    assert len(store) == 105
    missing = store.missing_files()
    assert len(missing) == 37
    for obs_id, paths in missing.items():
        assert paths == (
            str(gammapy_data / "hess-dl3-dr1" / "data" / f"hess_dl3_dr1_obs_id_{obs_id:06d}.fits.gz"),
        )
    assert len(store.get_observations(skip_missing=True)) == 68
    with pytest.raises(MissingFileError, match="files of 37 of 105 observations are not there") as caught:
        store.get_observations()
    assert str(caught.value).count("\n  - observation") == 37


def test_cta_lists_4_observations_of_which_one_is_not_there(gammapy_data: Path) -> None:
    store = DataStore.from_dir(gammapy_data / "cta-1dc" / "index" / "gps")
    assert store.obs_ids == [110380, 111140, 111159, 111630]
    assert list(store.missing_files()) == [111630]
    assert store.missing_files([110380]) == {}
    with pytest.raises(
        MissingFileError, match=r"observation 111630: .*gps_baseline_111630.fits: there is no such file"
    ):
        store.obs(111630)
    assert store.locate(110380).find("psf").hdu_class == "psf_3gauss"


def test_cta_event_files_find_their_responses_by_caldb(
    gammapy_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALDB", str(gammapy_data / "cta-1dc" / "caldb"))
    paths = sorted((gammapy_data / "cta-1dc" / "data" / "baseline" / "gps").glob("*.fits"))
    store = DataStore.from_events_files(paths)
    indexed = DataStore.from_dir(gammapy_data / "cta-1dc" / "index" / "gps")
    for obs_id in store.obs_ids:
        ours = {(hdu.hdu_type, hdu.hdu_class, hdu.hdu_name, hdu.path) for hdu in store.locate(obs_id).hdus}
        theirs = {
            (hdu.hdu_type, hdu.hdu_class, hdu.hdu_name, hdu.path) for hdu in indexed.locate(obs_id).hdus
        }
        assert ours == theirs
    monkeypatch.setenv("CALDB", str(gammapy_data))
    with pytest.raises(MissingFileError, match="there is no response file in this folder"):
        DataStore.from_events_files(paths)


def test_hess_event_files_hold_their_responses(gammapy_data: Path) -> None:
    path = gammapy_data / "hess-dl3-dr1" / "data" / "hess_dl3_dr1_obs_id_020136.fits.gz"
    observation = DataStore.from_events_files([path]).obs(20136)
    assert observation.psf.tag == "psf_table"
    assert observation.bkg.fov_alignment == "REVERSE_LON_RADEC"
