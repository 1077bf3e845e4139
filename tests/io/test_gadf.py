"""Datasets of counts as FITS in the GADF sky-map format, and back."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from astropy.io import fits

import gammaflow.io  # noqa: F401  # registers the formats
from gammaflow.datasets import Dataset, MapDataset, SpectrumDataset
from gammaflow.errors import (
    CorruptFileError,
    GeometryError,
    MissingFileError,
    MissingHduError,
    StorageError,
    UnitError,
    UnsupportedError,
)
from gammaflow.io import read_gadf, write_gadf
from gammaflow.maps import RegionGeom
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import any_dataset, part_of, random_dataset, spectrum_geometry, whole_geometry

TAGS = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff")
RECORD = "GAMMAFLOW"


def edited(path, change, target=None):
    """Change the HDUs of a file."""
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            _ = hdu.data
        change(hdus)
        hdus.writeto(target or path, overwrite=True)
    return target or path


@pytest.mark.parametrize("migra", [False, True])
@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
@pytest.mark.parametrize("tag", TAGS)
def test_round_trip_is_the_identity(tag, ending, migra, tmp_path):
    dataset = any_dataset(tag, 5, name="one", migra=migra)
    mask_fit = np.random.default_rng(1).random(dataset.data_shape) < 0.5
    dataset = dataset.with_arrays(mask_fit=mask_fit)
    dataset.write(tmp_path / f"d{ending}")
    for back in (Dataset.read(tmp_path / f"d{ending}"), type(dataset).read(tmp_path / f"d{ending}")):
        assert type(back) is type(dataset)
        assert back.data.identical(dataset.data)
        assert back.geometry == dataset.geometry
    back.write(tmp_path / f"again{ending}")
    assert (tmp_path / f"again{ending}").read_bytes() == (tmp_path / f"d{ending}").read_bytes()


@pytest.mark.parametrize(("frame", "proj"), [("icrs", "TAN"), ("galactic", "CAR"), ("icrs", "CAR")])
def test_cutouts_and_projections_come_back(frame, proj, tmp_path):
    part = part_of(whole_geometry(frame=frame, proj=proj, lon=83.63308), 5.0, 7.0, 3.1)
    dataset = random_dataset(part, 3)
    write_gadf(dataset, tmp_path / "d.fits")
    assert read_gadf(tmp_path / "d.fits").data.identical(dataset.data)


@pytest.mark.parametrize(
    "region",
    [
        "icrs;circle(83.6333,22.0145,0.1)",
        "galactic;annulus(184.5,-5.7,0.1,0.25)",
        "icrs;ellipse(83.6333,22.0145,0.3,0.1,20)",
        "icrs;box(83.6333,22.0145,0.3,0.1,20)",
        "icrs;polygon(83.1,22.0,83.9,22.0,83.9,22.7)",
        "icrs;point(83.6333,22.0145)",
        "icrs;circle(83.6333,22.0145,0.1)\nicrs;circle(84.6333,22.0145,0.2)",
        None,
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["ours", "of others"])
def test_every_region_comes_back(region, known, tmp_path):
    geometry = spectrum_geometry()
    geom = RegionGeom.create(region.split("\n") if region else None, geometry.geom.axes)
    dataset = random_dataset(type(geometry)(geom, geometry.energy_axis_true), kind=SpectrumDataset)
    write_gadf(dataset, tmp_path / "d.fits")
    if not known:
        edited(tmp_path / "d.fits", lambda hdus: hdus.pop(hdus.index_of(RECORD)))
    assert read_gadf(tmp_path / "d.fits").geom.region_difference(geom) is None


def test_an_empty_dataset_and_one_of_few_arrays_come_back(tmp_path):
    geometry = whole_geometry()
    empty = MapDataset.create(geometry.geom, geometry.energy_axis_true, name="empty")
    few = MapDataset.from_arrays(geometry, "few", counts=np.ones(geometry.shapes["counts"], dtype=int))
    for dataset in (empty, few):
        write_gadf(dataset, tmp_path / f"{dataset.name}.fits")
        assert read_gadf(tmp_path / f"{dataset.name}.fits").data.identical(dataset.data)


def test_the_background_model_and_the_metadata_come_back(tmp_path):
    dataset = any_dataset(
        "MapDataset", 2, name="it's", meta={"observer": "Müller & Söhne/'x'", "n": [1, None]}
    )
    dataset.models = FoVBackgroundModel(dataset_name="it's")
    dataset.models.spectral_model.norm.value = 1.25
    write_gadf(dataset, tmp_path / "d.fits")
    back = read_gadf(tmp_path / "d.fits")
    assert back.meta == dataset.meta
    np.testing.assert_array_equal(back.npred_background(), dataset.npred_background())


class TestOfOthers:
    """Without our own record, a file holds what everybody reads."""

    @pytest.mark.parametrize("tag", TAGS)
    def test_the_maps_alone_give_the_same_arrays(self, tag, tmp_path):
        dataset = any_dataset(tag, 5, name="one")
        write_gadf(dataset, tmp_path / "d.fits")
        edited(tmp_path / "d.fits", lambda hdus: hdus.pop(hdus.index_of(RECORD)))
        back = read_gadf(tmp_path / "d.fits")
        assert type(back) is type(dataset)
        assert back.name == "one"
        for name in dataset.arrays:
            np.testing.assert_array_equal(back.array(name), dataset.array(name))
        assert back.geometry == dataset.geometry
        assert back.observations == dataset.observations
        np.testing.assert_allclose(back.gti.start, dataset.gti.start, atol=1e-6)
        if tag.startswith("Map"):
            assert back.livetime == pytest.approx(dataset.livetime)

    def test_units_are_converted(self, tmp_path):
        dataset = any_dataset("MapDataset", 5)
        write_gadf(dataset, tmp_path / "d.fits")

        def to_cm2_and_gev(hdus):
            hdus.pop(hdus.index_of(RECORD))
            hdus["EXPOSURE"].data = hdus["EXPOSURE"].data * 1e4
            hdus["EXPOSURE"].header["BUNIT"] = "cm2 s"
            for hdu in hdus:
                for column in getattr(hdu, "columns", None) or ():
                    if column.unit == "TeV":
                        column.unit = "GeV"
                        hdu.data[column.name] *= 1000

        back = read_gadf(edited(tmp_path / "d.fits", to_cm2_and_gev))
        np.testing.assert_allclose(back.exposure, dataset.exposure, rtol=1e-6)
        assert back.geometry == dataset.geometry

    def test_off_regions_are_those_of_the_off_counts(self, tmp_path):
        off = "icrs;circle(83.1,21.5,0.1)\nicrs;ellipse(83.1,22.5,0.2,0.1,30)"
        dataset = any_dataset("SpectrumDatasetOnOff", 5, meta={"off_regions": off})
        write_gadf(dataset, tmp_path / "d.fits")
        assert read_gadf(tmp_path / "d.fits").data.identical(dataset.data)
        edited(tmp_path / "d.fits", lambda hdus: hdus.pop(hdus.index_of(RECORD)))
        back = read_gadf(tmp_path / "d.fits")
        assert back.geometry == dataset.geometry
        found = RegionGeom.create(back.meta["off_regions"])
        assert found.region_difference(RegionGeom.create(off)) is None

    def test_weights_that_say_nothing_are_the_exposure(self, tmp_path):
        geometry = whole_geometry()
        exposure = np.full(geometry.shapes["exposure"], 3e9)
        dataset = random_dataset(geometry, 1, exposure=exposure)
        write_gadf(dataset, tmp_path / "d.fits")

        def spoil(hdus):
            hdus.pop(hdus.index_of(RECORD))
            hdus.pop(hdus.index_of("PSF_EXPOSURE"))
            hdus["EDISP_EXPOSURE"].data[...] = 0

        back = read_gadf(edited(tmp_path / "d.fits", spoil))
        assert (back.psf_exposure == np.float32(3e9)).all()
        assert (back.edisp_exposure == np.float32(3e9)).all()

    def test_the_fermi_lat_cube(self, gammapy_data):
        path = gammapy_data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_data_Fermi-LAT.fits"
        dataset = MapDataset.read(path)
        with fits.open(path) as hdus:
            safe = hdus["MASK_SAFE"].data.astype(bool)
            np.testing.assert_array_equal(dataset.counts, hdus["COUNTS"].data)
            np.testing.assert_array_equal(dataset.mask_safe, safe)
            np.testing.assert_allclose(dataset.exposure, hdus["EXPOSURE"].data * 1e-4, rtol=1e-6)
            np.testing.assert_allclose(dataset.background, hdus["BACKGROUND"].data, rtol=1e-6)
        # The point spread function was brought from 17 energies and the whole sky onto this grid.
        edges = np.radians(dataset.geometry.rad_axis.edges)
        solid_angle = 2 * np.pi * -np.diff(np.cos(edges))
        total = (dataset.psf.values[:, :, 3, 4] * solid_angle).sum(axis=1)
        np.testing.assert_allclose(total, 1.0, atol=0.02)


class TestBadFiles:
    @pytest.fixture
    def file(self, tmp_path):
        write_gadf(any_dataset("MapDataset", 5), tmp_path / "d.fits")
        return tmp_path / "d.fits"

    @pytest.fixture
    def spectrum(self, tmp_path):
        write_gadf(any_dataset("SpectrumDatasetOnOff", 5), tmp_path / "s.fits")
        return tmp_path / "s.fits"

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.93])
    def test_truncated(self, file, spectrum, kept, tmp_path):
        for path in (file, spectrum):
            content = path.read_bytes()
            for stop in (int(kept * len(content)), int(kept * len(content)) // 2880 * 2880):
                path.write_bytes(content[:stop])
                with pytest.raises(CorruptFileError, match=r"truncated|ends within"):
                    Dataset.read(path)
            zipped = tmp_path / "z.fits.gz"
            zipped.write_bytes(gzip.compress(content)[: int(kept * 3000)])
            with pytest.raises(CorruptFileError, match="truncated"):
                Dataset.read(zipped)

    def test_no_fits_file_at_all(self, tmp_path):
        (tmp_path / "d.fits").write_text("datasets:\n")
        with pytest.raises(CorruptFileError, match="not a FITS file"):
            Dataset.read(tmp_path / "d.fits")
        with pytest.raises(MissingFileError):
            Dataset.read(tmp_path / "none.fits")

    def test_a_fits_file_of_another_kind(self, tmp_path):
        column = fits.Column("ENERGY", "E", array=[1.0])
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column], name="EVENTS")]).writeto(
            tmp_path / "d.fits"
        )
        with pytest.raises(MissingHduError, match="no HDU COUNTS; the file has EVENTS"):
            Dataset.read(tmp_path / "d.fits")

    def test_a_table_where_a_map_should_be(self, file):
        def table_for_counts(hdus):
            column = fits.Column("PIX", "J", array=[1])
            hdus["COUNTS"] = fits.BinTableHDU.from_columns([column], name="COUNTS")

        with pytest.raises(UnsupportedError, match="no spectrum of a region"):
            Dataset.read(edited(file, table_for_counts))

    @pytest.mark.parametrize(
        ("hdu", "card", "unit"),
        [
            ("EXPOSURE", "BUNIT", "deg"),
            ("EXPOSURE", "BUNIT", ""),
            ("PSF", "BUNIT", "m2"),
            ("BACKGROUND", "BUNIT", "s-1"),
            ("COUNTS_BANDS", "E_MIN", "s"),
            ("EXPOSURE_BANDS", "ENERGY_TRUE_MIN", None),
            ("PSF_BANDS", "RAD_MIN", "TeV"),
        ],
    )
    def test_wrong_unit(self, file, hdu, card, unit):
        def change(hdus):
            if card == "BUNIT":
                hdus[hdu].header[card] = unit
            else:
                hdus[hdu].columns[card].unit = unit

        with pytest.raises(UnitError, match=rf"\[{hdu}\]"):
            Dataset.read(edited(file, change))

    def test_wrong_unit_of_a_spectrum(self, spectrum):
        def change(hdus):
            hdus["EXPOSURE"].columns["DATA"].unit = "TeV"

        with pytest.raises(UnitError, match="EXPOSURE"):
            Dataset.read(edited(spectrum, change))

    def test_axes_that_do_not_belong_to_the_map(self, file):
        def change(hdus):
            hdus["COUNTS"].header["BANDSHDU"] = "EDISP_BANDS"

        with pytest.raises(CorruptFileError, match="12 rows, the map has 3 images"):
            Dataset.read(edited(file, change))

    def test_maps_on_different_pixels_and_energies(self, file, tmp_path):
        def shift(hdus):
            hdus["BACKGROUND"].header["CRPIX1"] += 0.25

        with pytest.raises(GeometryError, match="BACKGROUND"):
            Dataset.read(edited(file, shift, tmp_path / "shifted.fits"))

        def stretch(hdus):
            for column in ("ENERGY_TRUE", "ENERGY_TRUE_MIN", "ENERGY_TRUE_MAX"):
                hdus["EDISP_BANDS"].data[column] *= 1.1

        with pytest.raises(GeometryError, match="energy_true"):
            Dataset.read(edited(file, stretch, tmp_path / "stretched.fits"))

    def test_counts_that_are_no_whole_numbers(self, file):
        def change(hdus):
            hdus["COUNTS"].data = hdus["COUNTS"].data + 0.5

        with pytest.raises(UnsupportedError, match="no whole numbers"):
            Dataset.read(edited(file, change))

    def test_a_missing_table_of_axes(self, file):
        def change(hdus):
            for name in ("COUNTS_BANDS", RECORD):
                hdus.pop(hdus.index_of(name))

        with pytest.raises(MissingHduError, match="COUNTS_BANDS"):
            Dataset.read(edited(file, change))

    def test_nothing_is_replaced_unasked(self, file):
        before = file.read_bytes()
        with pytest.raises(StorageError, match="there already"):
            write_gadf(any_dataset("MapDataset", 6), file)
        assert file.read_bytes() == before
        write_gadf(any_dataset("MapDataset", 6), file, overwrite=True)
        assert file.read_bytes() != before
        assert [p.name for p in file.parent.iterdir() if p.name.startswith(".")] == []
