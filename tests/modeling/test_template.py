"""Template maps: values, files, energies."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from numpy.testing import assert_allclose

from gammaflow.errors import ModelError
from gammaflow.maps import WcsGeom
from gammaflow.modeling import Model, SkyModel, TemplateMap, TemplateSpatialModel
from gammaflow.modeling.spatial.interpolation import bin_means
from tests.modeling.catalogue import REFERENCE, reference

KINDS = ["template_image", "template_cube"]


def blob(energy: np.ndarray | None = None) -> TemplateMap:
    geom = WcsGeom.create(skydir=(10, 0), binsz=0.1, width=(2, 1), frame="galactic")
    lon, lat = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-0.5, 0.5, 10))
    image = np.exp(-0.5 * (lon**2 + lat**2) / 0.09)
    return TemplateMap(geom, image if energy is None else image * np.ones((len(energy), 1, 1)), energy=energy)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_gammapys(kind: str) -> None:
    """To 1e-6: Gammapy's solid angles are those of flat quadrilaterals."""
    model = TemplateSpatialModel.read(REFERENCE / f"models_{kind}.fits")
    lon, lat = np.array(reference()["positions"]["lon"]), np.array(reference()["positions"]["lat"])
    energy = np.geomspace(0.12, 8, lon.size) if kind == "template_cube" else None
    assert model.is_energy_dependent == (energy is not None)
    for name in ("values", "moved"):
        expected = np.array(reference()[kind][name])
        assert_allclose(model.values(lon, lat, energy), expected, rtol=1e-6, atol=1e-9 * expected.max())
        model.lon_0.value, model.lat_0.value = 83.75, 22.1


@pytest.mark.parametrize("energy", [None, np.array([0.1, 1.0, 7.0])])
def test_a_template_comes_back_from_its_file(tmp_path: Path, energy: np.ndarray | None) -> None:
    blob(energy).write(tmp_path / "blob.fits")
    back = TemplateMap.read(tmp_path / "blob.fits")
    assert_allclose(back.data, blob(energy).data)
    assert back.geom == blob().geom
    assert back.unit == u.Unit("sr-1")
    if energy is not None:
        assert_allclose(back.energy, energy)
    with pytest.raises(ModelError, match="is there already"):
        blob(energy).write(tmp_path / "blob.fits")
    blob(energy).write(tmp_path / "blob.fits", overwrite=True)


def test_the_integral_is_1_and_outside_is_0() -> None:
    model = TemplateSpatialModel(blob())
    geom = model.map.geom
    vectors = geom.pix_to_sky(*np.meshgrid(np.arange(20), np.arange(10)))
    assert np.sum(model.values(*vectors) * geom.solid_angle()) == pytest.approx(1)
    assert_allclose(model.values([10, 10, 10.99, 11.01], [0, 0.6, 0, 0]) > 0, [True, False, True, False])
    assert model.extent == pytest.approx(1)
    assert model.position.l.deg == pytest.approx(10)
    model.lon_0.value = 11.0
    assert model.values(11.3, 0) == pytest.approx(float(TemplateSpatialModel(blob()).values(10.3, 0)))


def test_a_map_that_is_a_flux() -> None:
    """A diffuse model: surface brightness in the map, a factor as spectrum."""
    flux = TemplateMap(blob().geom, 1e-9 * blob().data, u.Unit("cm-2 s-1 MeV-1 sr-1"))
    model = TemplateSpatialModel(flux, normalize=False)
    source = SkyModel(Model.create("pl-norm", "spectral"), model, name="diffuse")
    value = source(10.05 * u.deg, 0.05 * u.deg, 1 * u.TeV).to_value("cm-2 s-1 MeV-1 sr-1")
    assert value == pytest.approx(1e-9 * blob().data.max())
    with pytest.raises(ModelError, match="A norm model needs"):
        SkyModel(Model.create("pl-norm", "spectral"), TemplateSpatialModel(blob()))
    with pytest.raises(ModelError, match="is needed"):
        SkyModel(Model.create("pl", "spectral"), model)


def test_energies_between_and_beyond() -> None:
    energy = np.array([0.1, 1.0, 10.0])
    cube = blob(energy)
    scaled = TemplateMap(cube.geom, cube.data * np.array([1, 4, 16])[:, None, None], energy=energy)
    model = TemplateSpatialModel(scaled, normalize=False)
    at = np.array([0.1, np.sqrt(0.1), 1.0, 0.04, 25.0, 0.02, 40.0])
    ratio = model.values(10.0, 0.05, at) / model.values(10.0, 0.05, 1.0)
    # a power law between the planes and to the ends of their bins, nothing beyond
    assert_allclose(ratio[:5], np.array([0.1, np.sqrt(0.1), 1, 0.04, 25]) ** np.log10(4), rtol=1e-12)
    assert_allclose(ratio[5:], 0)
    with pytest.raises(ModelError, match="no energy"):
        model.values(10.0, 0.0)


def test_means_over_energy_bins() -> None:
    """Against many steps of the interpolation, in bins that planes divide, that end within the cube, and beyond it."""
    energy = np.geomspace(0.1, 10.0, 6)
    data = (
        blob(energy).data * (energy[:, None, None] ** -2.4) * (1 + 0.5 * np.sin(np.arange(6)))[:, None, None]
    )
    flux = TemplateMap(blob().geom, data, u.Unit("cm-2 s-1 TeV-1 sr-1"), energy)
    model = TemplateSpatialModel(flux, normalize=False)
    edges = np.array([0.02, 0.05, 0.08, 0.3, 0.31, 5.0, 50.0, 100.0])
    lon, lat = np.array([10.05, 9.63, 12.0]), np.array([0.05, 0.22, 0.0])
    found = model.values_in_bins(lon, lat, edges)
    steps = np.array([np.geomspace(a, b, 20001) for a, b in itertools.pairwise(edges)])
    middle = np.sqrt(steps[:, 1:] * steps[:, :-1])
    values = np.stack([model.values(*place, middle) for place in zip(lon, lat, strict=True)], axis=-1)
    expected = (values * np.diff(steps)[..., None]).sum(axis=1) / np.diff(edges)[:, None]
    assert_allclose(found, expected, rtol=2e-4, atol=1e-30)
    assert not found[0].any()
    assert not found[-1].any()
    assert not found[:, 2].any()


def test_a_cube_that_is_a_shape_is_taken_at_the_centre_of_a_bin() -> None:
    model = TemplateSpatialModel(blob(np.array([0.1, 1.0, 10.0])))
    edges = np.array([0.2, 0.5, 4.0])
    found = model.values_in_bins(10.05, 0.05, edges)
    assert_allclose(found, model.values(10.05, 0.05, np.sqrt(edges[1:] * edges[:-1])))


def test_a_single_plane_is_the_same_at_every_energy() -> None:
    assert_allclose(bin_means(np.full((1, 2, 3), 7.0), np.array([1.0]), np.array([0.1, 1.0, 5.0])), 7.0)


def test_copies_share_the_map_and_nothing_else() -> None:
    model = TemplateSpatialModel(blob())
    copied = model.copy()
    assert copied.map.data is model.map.data
    copied.lon_0.value = 10.5
    assert model.lon_0.value == pytest.approx(10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: -data, "negative values"),
        (lambda data: 0 * data, "template of zeros"),
        (lambda data: np.full_like(data, np.nan), "template of zeros"),
    ],
)
def test_a_wrong_map_is_refused(tmp_path: Path, change, message: str) -> None:
    header = fits.Header(list(blob().geom.header.items()))
    fits.PrimaryHDU(change(blob().data.copy()), header).writeto(tmp_path / "map.fits")
    with pytest.raises(ModelError, match=message) as caught:
        TemplateSpatialModel.read(tmp_path / "map.fits")
    assert "map.fits" in str(caught.value)


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        TemplateMap.read(tmp_path / "none.fits")
    (tmp_path / "text.fits").write_text("no FITS at all, but long enough to be looked at" * 80)
    with pytest.raises(ModelError, match="is no FITS file"):
        TemplateMap.read(tmp_path / "text.fits")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(ModelError, match="has no image"):
        TemplateMap.read(tmp_path / "empty.fits")
    header = fits.Header(list(blob().geom.header.items()))
    fits.PrimaryHDU(np.ones((3, 10, 20)), header).writeto(tmp_path / "cube.fits")
    with pytest.raises(ModelError, match="cube without energies"):
        TemplateMap.read(tmp_path / "cube.fits")
    header["BUNIT"] = "furlongs"
    fits.PrimaryHDU(np.ones((10, 20)), header).writeto(tmp_path / "unit.fits")
    with pytest.raises(ModelError, match="furlongs"):
        TemplateMap.read(tmp_path / "unit.fits")
    with pytest.raises(ModelError, match="without a file"):
        TemplateSpatialModel(blob()).to_dict()


def test_an_energies_hdu_in_mev(tmp_path: Path) -> None:
    header = fits.Header(list(blob().geom.header.items()))
    column = fits.Column("Energy", "D", array=[1e3, 1e4, 1e5], unit="MeV")
    energies = fits.BinTableHDU.from_columns([column], name="ENERGIES")
    fits.HDUList([fits.PrimaryHDU(np.ones((3, 10, 20)), header), energies]).writeto(tmp_path / "cube.fits")
    assert_allclose(TemplateMap.read(tmp_path / "cube.fits").energy, [1e-3, 1e-2, 1e-1])
