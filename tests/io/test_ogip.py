"""ON/OFF spectra in the OGIP formats, and back."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from astropy.io import fits

import gammaflow.io  # noqa: F401  # registers the formats
from gammaflow.datasets import Dataset, Datasets, SpectrumDatasetOnOff
from gammaflow.errors import (
    CorruptFileError,
    DataError,
    GammaflowError,
    GeometryError,
    MissingFileError,
    MissingHduError,
    StorageError,
    UnitError,
    UnsupportedError,
)
from gammaflow.io import read_ogip, write_ogip
from gammaflow.maps import RegionGeom
from tests.datasets.small import any_dataset
from tests.io.test_gadf import edited
from tests.oracle import load_oracle

KINDS = ("pha", "arf", "rmf", "bkg")


def spectrum(**options):
    return any_dataset("SpectrumDatasetOnOff", 5, name="one", **options)


@pytest.fixture
def files(tmp_path):
    """Files of one spectrum, by kind."""
    write_ogip(spectrum(), tmp_path / "s.pha")
    return {kind: tmp_path / f"s.{kind}" for kind in KINDS}


@pytest.mark.parametrize("name", ["s.pha", "s.fits", "pha_obs1.fits.gz"])
def test_round_trip_is_the_identity(name, tmp_path):
    dataset = spectrum().with_arrays(mask_fit=np.array([True, False, True]))
    write_ogip(dataset, tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 4
    for back in (Dataset.read(tmp_path / name), read_ogip(tmp_path / name)):
        assert isinstance(back, SpectrumDatasetOnOff)
        assert back.data.identical(dataset.data)
        assert back.geometry == dataset.geometry


def test_without_off_counts_and_matrix_there_are_two_files(tmp_path):
    dataset = spectrum(
        counts_off=None, acceptance_off=None, edisp=None, edisp_exposure=None, observations=None, gti=None,
        livetime=100.0,
    )  # fmt: skip
    dataset.write(tmp_path / "s.pha")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.arf", "s.pha"]
    assert read_ogip(tmp_path / "s.pha").data.identical(dataset.data)


def test_rows_without_entries_and_scattered_ones_come_back(tmp_path):
    kernel = np.zeros((4, 3))
    kernel[1, 1], kernel[2, [0, 2]], kernel[3, 2] = 0.5, (0.25, 0.75), 1.0
    dataset = spectrum(edisp=kernel)
    write_ogip(dataset, tmp_path / "s.pha")
    np.testing.assert_array_equal(read_ogip(tmp_path / "s.pha").edisp, kernel)


OFF = "icrs;circle(83.1,21.5,0.1)\nicrs;circle(83.1,22.5,0.1)"


class TestOfOthers:
    def test_off_regions_are_those_of_the_bkg_file(self, tmp_path):
        dataset = spectrum(meta={"off_regions": OFF, "n": 1})
        write_ogip(dataset, tmp_path / "s.pha")
        with fits.open(tmp_path / "s.bkg") as hdus:
            assert list(hdus["REGION"].data["SHAPE"]) == ["circle", "circle"]
        assert read_ogip(tmp_path / "s.pha").data.identical(dataset.data)
        self.without_record({"pha": tmp_path / "s.pha"})
        back = read_ogip(tmp_path / "s.pha")
        assert list(back.meta) == ["off_regions"]
        assert RegionGeom.create(back.meta["off_regions"]).region_difference(RegionGeom.create(OFF)) is None

    def test_off_regions_that_are_none(self, tmp_path):
        dataset = spectrum(meta={"off_regions": "circle of friends"})
        with pytest.raises(DataError, match=r"dataset one, meta\['off_regions'\]"):
            write_ogip(dataset, tmp_path / "s.pha")

    def without_record(self, files):
        edited(files["pha"], lambda hdus: hdus.pop(hdus.index_of("GAMMAFLOW")))

    def test_the_tables_alone_give_the_same_arrays(self, files):
        dataset = spectrum()
        self.without_record(files)
        back = read_ogip(files["pha"])
        for name in set(dataset.arrays) - {"mask_fit"}:
            np.testing.assert_allclose(back.array(name), dataset.array(name), rtol=2e-7)
        assert back.geometry == dataset.geometry
        assert (back.name, back.livetime) == ("one", pytest.approx(dataset.livetime))

    def test_scales_in_the_header_and_the_exposure_of_the_background(self, files):
        """Alpha is the ratio of EXPOSURE BACKSCAL AREASCAL."""
        self.without_record(files)

        def to_cards(hdus):
            hdu = hdus["SPECTRUM"]
            hdu.columns.del_col("BACKSCAL")
            hdu.header["BACKSCAL"] = 4.0
            hdu.header["AREASCAL"] = 0.5
            hdu.header["EXPOSURE"] *= 3

        edited(files["bkg"], to_cards)
        np.testing.assert_allclose(read_ogip(files["pha"]).acceptance_off, 6.0)

    def test_channels_counted_from_one(self, files):
        expected = read_ogip(files["pha"]).edisp.values

        def from_one(hdus):
            for row in hdus["MATRIX"].data["F_CHAN"]:
                row += 1
            hdus["MATRIX"].header["TLMIN4"] = 1

        edited(files["rmf"], from_one)
        np.testing.assert_array_equal(read_ogip(files["pha"]).edisp, expected)

    def test_a_spectrum_without_quality_is_good(self, files):
        edited(files["pha"], lambda hdus: hdus["SPECTRUM"].columns.del_col("QUALITY"))
        assert read_ogip(files["pha"]).mask_safe.all()

    def test_the_spectra_of_hess(self, gammapy_data):
        """Stacked they are those of the oracle."""
        folder = gammapy_data / "joint-crab" / "spectra" / "hess"
        paths = [folder / f"pha_obs{i}.fits" for i in (23523, 23526)]
        one = Dataset.read(paths[0])
        with fits.open(paths[0]) as hdus:
            table = hdus["SPECTRUM"].data
            np.testing.assert_array_equal(one.counts, table["COUNTS"])
            np.testing.assert_array_equal(one.mask_safe, table["QUALITY"] == 0)
            np.testing.assert_array_equal(one.acceptance, table["BACKSCAL"])
        oracle = load_oracle("crab_joint")
        stacked = Datasets(Dataset.read(path) for path in paths).stack_reduce("HESS")
        assert stacked.livetime == pytest.approx(oracle["hess"]["livetime_s"])
        np.testing.assert_array_equal(stacked.counts, oracle["hess"]["counts"]["sum_per_energy"])


class TestBadFiles:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
    def test_truncated(self, files, kind, kept):
        content = files[kind].read_bytes()
        for stop in (int(kept * len(content)), int(kept * len(content)) // 2880 * 2880):
            files[kind].write_bytes(content[:stop])
            with pytest.raises(GammaflowError) as caught:
                read_ogip(files["pha"])
            assert isinstance(caught.value, CorruptFileError | MissingHduError)
            assert files[kind].name in str(caught.value)

    @pytest.mark.parametrize("kind", ["arf", "rmf", "bkg"])
    def test_missing(self, files, kind):
        files[kind].unlink()
        with pytest.raises(MissingFileError, match=f"s.{kind}"):
            read_ogip(files["pha"])

    @pytest.mark.parametrize("kind", ["arf", "rmf", "bkg"])
    def test_another_kind_of_file(self, files, kind):
        other = {"arf": "rmf", "rmf": "arf", "bkg": "arf"}[kind]
        shutil.copy(files[other], files[kind])
        with pytest.raises(MissingHduError, match=f"s.{kind}: there is no HDU"):
            read_ogip(files["pha"])

    def test_a_map_is_no_spectrum(self, tmp_path):
        any_dataset("MapDataset").write(tmp_path / "m.fits")
        with pytest.raises(MissingHduError, match="no HDU 'SPECTRUM'"):
            read_ogip(tmp_path / "m.fits")

    @pytest.mark.parametrize(
        ("kind", "hdu", "column"),
        [
            ("pha", "EBOUNDS", "E_MIN"),
            ("arf", "SPECRESP", "SPECRESP"),
            ("arf", "SPECRESP", "ENERG_LO"),
            ("rmf", "MATRIX", "ENERG_HI"),
            ("rmf", "EBOUNDS", "E_MIN"),
            ("bkg", "EBOUNDS", "E_MAX"),
        ],
    )
    @pytest.mark.parametrize("unit", ["s", None])
    def test_wrong_unit(self, files, kind, hdu, column, unit):
        def change(hdus):
            hdus[hdu].columns[column].unit = unit

        edited(files[kind], change)
        with pytest.raises(UnitError, match=column):
            read_ogip(files["pha"])

    @pytest.mark.parametrize("kind", ["pha", "bkg"])
    def test_counts_with_a_unit_and_rates(self, files, kind):
        """A rate in the place of counts would be fitted as if it were as many events."""
        edited(files[kind], lambda hdus: setattr(hdus["SPECTRUM"].columns["COUNTS"], "unit", "s-1"))
        with pytest.raises(UnitError, match=rf"s.{kind}.*the unit of COUNTS is 's-1'"):
            read_ogip(files["pha"])
        edited(files[kind], lambda hdus: setattr(hdus["SPECTRUM"].columns["COUNTS"], "name", "RATE"))
        with pytest.raises(UnsupportedError, match=rf"s.{kind}.*holds rates"):
            read_ogip(files["pha"])

    def test_off_counts_at_other_energies(self, files):
        def stretch(hdus):
            for column in ("E_MIN", "E_MAX"):
                hdus["EBOUNDS"].data[column] *= 1.01

        edited(files["bkg"], stretch)
        with pytest.raises(GeometryError, match=r"s.bkg.*not those of the spectrum"):
            read_ogip(files["pha"])

    def test_energies_that_do_not_agree(self, files):
        def stretch(hdus):
            for column in ("ENERG_LO", "ENERG_HI"):
                hdus["MATRIX"].data[column] *= 1.01

        edited(files["rmf"], stretch)
        with pytest.raises(GeometryError, match="not those of the effective area"):
            read_ogip(files["pha"])

    def test_a_group_outside_the_matrix(self, files):
        def shift(hdus):
            hdus["MATRIX"].header["TLMIN4"] = 2

        edited(files["rmf"], shift)
        with pytest.raises(CorruptFileError, match="row 0 has a group"):
            read_ogip(files["pha"])

    @pytest.mark.parametrize("tag", ["MapDataset", "SpectrumDataset"])
    def test_a_type_that_has_no_place(self, tag, tmp_path):
        with pytest.raises(UnsupportedError, match=f"a {tag} has no place"):
            any_dataset(tag).write(tmp_path / "s.pha")

    def test_contents_that_have_no_place(self, tmp_path):
        with pytest.raises(UnsupportedError, match="over migra"):
            write_ogip(spectrum(migra=True), tmp_path / "s.pha")
        with pytest.raises(UnsupportedError, match="a livetime of"):
            write_ogip(spectrum(livetime=0.0), tmp_path / "s.pha")
        assert list(tmp_path.iterdir()) == []

    def test_nothing_is_replaced_unasked(self, files):
        files["pha"].unlink()
        before = files["bkg"].read_bytes()
        with pytest.raises(StorageError, match="there already"):
            write_ogip(spectrum(), files["pha"])
        assert not files["pha"].exists()
        assert files["bkg"].read_bytes() == before
        write_ogip(spectrum(), files["pha"], overwrite=True)
