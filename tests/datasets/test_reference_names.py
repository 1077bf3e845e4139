"""Every attribute and method of the reference page of `MapDatasetOnOff` is there, on every type that it has a meaning
for, says what it is, and works on a dataset of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammaflow.datasets import Datasets, MapDataset, MapDatasetOnOff, SpectrumDataset, SpectrumDatasetOnOff
from gammaflow.errors import GeometryError, SchemaError
from tests.datasets.small import any_dataset

TYPES: dict[str, Any] = {
    t.tag: t for t in (MapDataset, MapDatasetOnOff, SpectrumDataset, SpectrumDatasetOnOff)
}
EVERYWHERE = (
    *("background", "data_shape", "excess", "mask", "models", "name", "parameters", "stat_type", "tag"),
    *("copy", "create", "fake", "from_dict", "npred", "read", "residuals", "stack", "stat_array", "stat_sum"),
    *("from_hdulist", "to_dict", "to_hdulist", "to_image", "write"),
    # of later versions of the page
    *(
        "counts",
        "exposure",
        "edisp",
        "gti",
        "mask_safe",
        "mask_fit",
        "meta",
        "npred_background",
        "npred_signal",
    ),
    *("to_masked", "slice_by_energy", "slice_by_idx", "resample_energy_axis", "downsample", "info_dict"),
)
MAPS = ("cutout", "from_geoms", "to_spectrum_dataset", "pad", "psf")
ON_OFF = ("alpha", "counts_off", "acceptance", "acceptance_off", "from_map_dataset", "npred_off")
NAMES = [
    (tag, name)
    for tag in TYPES
    for name in (
        *EVERYWHERE,
        *(MAPS if tag.startswith("Map") else ()),
        *(ON_OFF if tag.endswith("OnOff") else ()),
        *(("to_map_dataset",) if tag == "MapDatasetOnOff" else ()),
        *(("from_spectrum_dataset", "to_spectrum_dataset") if tag == "SpectrumDatasetOnOff" else ()),
    )
]


@pytest.mark.parametrize(("tag", "name"), NAMES)
def test_it_is_there_and_says_what_it_is(tag: str, name: str) -> None:
    found = getattr(TYPES[tag], name)
    assert isinstance(found, str) or found.__doc__


def test_what_has_no_meaning_is_not_there() -> None:
    assert not hasattr(SpectrumDataset, "cutout")
    assert not hasattr(SpectrumDataset, "pad")
    assert not hasattr(MapDataset, "alpha")


@pytest.mark.parametrize("tag", TYPES)
class TestOfEachType:
    def test_tag_statistic_and_shape(self, tag: str) -> None:
        dataset = any_dataset(tag)
        assert dataset.tag == tag
        assert dataset.stat_type == ("wstat" if tag.endswith("OnOff") else "cash")
        assert dataset.data_shape == dataset.counts.shape == dataset.stat_array().shape
        assert len(dataset.parameters) == 0

    def test_create_is_empty(self, tag: str) -> None:
        like = any_dataset(tag)
        g = like.geometry
        extra = {"rad_axis": g.rad_axis, "binsz_irf": 1.0} if tag.startswith("Map") else {}
        empty = TYPES[tag].create(
            g.geom, g.energy_axis_true, name="new", reference_time="2010-01-01", **extra
        )
        assert empty.name == "new"
        assert empty.time_reference.startswith("2010-01-01")
        assert not empty.mask_safe.any()
        for name in ("counts", "exposure", "edisp"):
            assert not getattr(empty, name).any()
        empty.stack(like)
        np.testing.assert_array_equal(empty.counts, like.to_masked().counts)

    def test_masks_can_be_set(self, tag: str) -> None:
        dataset = any_dataset(tag, safe=1.0)
        dataset.mask_fit = dataset.geom.energy_mask(energy_min=0.4 * u.TeV, energy_max=None)
        chosen = dataset.geometry.energy_axis.edges[:-1] >= 0.4
        inside = dataset.mask.values
        assert inside[chosen].all()
        assert not inside[~chosen].any()
        np.testing.assert_allclose(dataset.stat_sum(), dataset.stat_array().values[inside].sum())
        dataset.mask_fit = chosen  # of energies
        np.testing.assert_array_equal(dataset.mask, inside)
        dataset.mask_safe = np.zeros(dataset.data_shape, dtype=bool)
        assert dataset.stat_sum() == 0.0
        dataset.mask_fit = None
        assert dataset.mask_fit is None
        with pytest.raises(SchemaError, match="mask of shape"):
            dataset.mask_fit = np.ones(17, dtype=bool)

    def test_a_copy_has_its_own_arrays_and_name(self, tag: str) -> None:
        dataset = any_dataset(tag)
        copied = dataset.copy(name="copied")
        copied.data["counts"].values[...] = 0
        assert (copied.name, dataset.name) == ("copied", "obs-0")
        assert dataset.counts.sum() > 0

    @pytest.mark.parametrize("method", ["diff", "diff/model", "diff/sqrt(model)"])
    def test_residuals_are_of_the_data_and_the_prediction(self, tag: str, method: str) -> None:
        dataset = any_dataset(tag)
        model = dataset.npred().values
        below = {"diff": 1.0, "diff/model": model, "diff/sqrt(model)": np.sqrt(model)}[method]
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = (dataset.counts.values - model) / below
        inside = dataset.mask_safe.values & (model > 0)
        np.testing.assert_allclose(dataset.residuals(method).values[inside], expected[inside])

    def test_files_and_their_entries_in_a_list(self, tag: str, tmp_path: Any) -> None:
        dataset = any_dataset(tag)
        dataset.write(tmp_path / "d.zarr")
        back = TYPES[tag].read(tmp_path / "d.zarr", name="other")
        assert back.name == "other"
        entry = dataset.to_dict("d.zarr")
        assert entry == {"name": "obs-0", "type": tag, "filename": "d.zarr"}
        again = TYPES[tag].from_dict(entry, tmp_path)
        assert again.data.identical(dataset.data)

    def test_hdus_there_and_back(self, tag: str) -> None:
        dataset = any_dataset(tag)
        hdus = dataset.to_hdulist()
        assert {"COUNTS", "MASK_SAFE", "EXPOSURE", "EDISP", "GTI"} < {hdu.name for hdu in hdus}
        back = TYPES[tag].from_hdulist(hdus, name="other")
        assert back.name == "other"
        assert TYPES[tag].from_hdulist(hdus).data.identical(dataset.data)
        wrong = next(t for other, t in TYPES.items() if other.startswith("Map") != tag.startswith("Map"))
        with pytest.raises(SchemaError, match=f"it holds a {tag}, not a"):
            wrong.from_hdulist(hdus)

    def test_an_image_has_one_energy_and_the_same_sums(self, tag: str) -> None:
        dataset = any_dataset(tag, safe=1.0)
        image = dataset.to_image(name="image")
        assert image.name == "image"
        assert image.data_shape[0] == 1
        assert float(image.excess.sum()) == pytest.approx(float(dataset.excess.sum()), rel=1e-6, abs=1e-4)


CENTER = SkyCoord(0.0, 0.0, unit="deg", frame="galactic")


@pytest.mark.parametrize("tag", [t for t in TYPES if t.startswith("Map")])
class TestCutout:
    def test_trimmed_or_strict(self, tag: str) -> None:
        dataset = any_dataset(tag)
        rim = SkyCoord(3.5, 0.0, unit="deg", frame="galactic")
        inner = dataset.cutout(CENTER, 2 * u.deg, mode="strict", name="part")
        assert inner.name == "part"
        assert inner.data_shape[1:] == (4, 4)
        assert dataset.cutout(rim, 2 * u.deg).data_shape[1:] == (4, 3)
        with pytest.raises(GeometryError, match="of a cutout of 4 columns only 3 are on the map"):
            dataset.cutout(rim, 2 * u.deg, mode="strict")
        with pytest.raises(GeometryError, match="mode 'partial'"):
            dataset.cutout(rim, 2 * u.deg, mode="partial")

    def test_it_keeps_what_is_inside(self, tag: str) -> None:
        dataset = any_dataset(tag)
        part = dataset.cutout(CENTER, (3 * u.deg, 2 * u.deg))
        rows, columns = part.geom.slices_in(dataset.geom)
        for name in ("counts", "background", "exposure", "mask_safe"):
            np.testing.assert_array_equal(getattr(part, name), getattr(dataset, name)[:, rows, columns])

    def test_geometries_may_be_given_one_by_one(self, tag: str) -> None:
        g = any_dataset(tag).geometry
        true = g.energy_axis_true
        made = TYPES[tag].from_geoms(
            g.geom,
            g.image.to_cube([true]),
            g.geom_irf.to_image().to_cube([g.rad_axis, true]),
            g.geom_irf.to_image().to_cube([g.energy_axis, true]),
            name="made",
        )
        assert made.geometry == g
        assert made.name == "made"


@pytest.mark.parametrize("tag", TYPES)
def test_a_collection_of_them_has_their_statistic(tag: str) -> None:
    datasets = Datasets([any_dataset(tag, 1), any_dataset(tag, 2)])
    assert datasets.stat_sum() == pytest.approx(sum(d.stat_sum() for d in datasets))


PER_BIN: dict[str, Callable[[Any], Any]] = {
    "alpha": lambda d: d.array("acceptance").astype(float) / d.array("acceptance_off"),
    "background": lambda d: d.alpha.values * d.array("counts_off"),
    "excess": lambda d: d.array("counts") - d.alpha.values * d.array("counts_off"),
}


@pytest.mark.parametrize("name", PER_BIN)
@pytest.mark.parametrize("tag", [t for t in TYPES if t.endswith("OnOff")])
def test_numbers_per_bin_of_on_and_off(tag: str, name: str) -> None:
    dataset = any_dataset(tag)
    np.testing.assert_allclose(getattr(dataset, name), PER_BIN[name](dataset), rtol=1e-12)
