"""The map dataset: what it holds, what it makes of it, what it says."""

from __future__ import annotations

import pickle

import astropy.units as u
import numpy as np
import pytest

from gammaflow.data import GTI
from gammaflow.datasets import MapDataset, ObservationRow, ObservationTable
from gammaflow.errors import NoOverlapError, SchemaError, UnsupportedError
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import REFERENCE, part_of, random_dataset, whole_geometry


@pytest.fixture
def dataset() -> MapDataset:
    return random_dataset(whole_geometry(), 1, "one")


def fov(norm: float, tilt: float = 0.0) -> FoVBackgroundModel:
    model = FoVBackgroundModel(dataset_name="one")
    model.spectral_model.norm.value = norm
    model.spectral_model.tilt.value = tilt
    return model


class TestFromArrays:
    def test_arrays_are_kept_in_the_number_types_of_the_schema(self, dataset):
        types = {n: str(dataset.array(n).dtype) for n in ("counts", "background", "mask_safe", "psf")}
        assert types == {"counts": "int32", "background": "float32", "mask_safe": "bool", "psf": "float32"}

    def test_an_array_of_the_right_type_is_not_copied(self):
        geometry = whole_geometry()
        counts = np.ones(geometry.shapes["counts"], dtype=np.int32)
        assert np.shares_memory(MapDataset.from_arrays(geometry, "d", counts=counts).array("counts"), counts)

    def test_wrong_shapes_and_types_are_told_together(self):
        geometry = whole_geometry()
        with pytest.raises(SchemaError) as error:
            MapDataset.from_arrays(
                geometry, "d", counts=np.ones(geometry.shapes["counts"]), background=np.ones((2, 2))
            )
        assert len(error.value.issues) == 2
        assert "counts: number type float64" in error.value.issues[0]
        assert "background: shape (2, 2)" in error.value.issues[1]

    def test_the_safe_mask_is_complete(self):
        dataset = MapDataset.from_arrays(whole_geometry(), "d")
        assert dataset.array("mask_safe").all()

    def test_times_and_livetime(self, dataset):
        assert isinstance(dataset.gti, GTI)
        assert dataset.gti.time_reference.seconds_after(REFERENCE) == pytest.approx(0, abs=1e-9)
        assert dataset.ontime == 1700.0
        (row,) = dataset.observations
        assert dataset.livetime == row.livetime
        assert row.zenith == 20.0
        assert np.isnan(row.azimuth)

    def test_absent_arrays_are_none(self):
        dataset = MapDataset.from_arrays(whole_geometry(), "d")
        assert dataset.counts is None
        assert dataset.gti is None
        assert dataset.npred_background() is None
        assert len(dataset.observations) == 0
        assert np.isnan(dataset.livetime)
        assert np.isnan(dataset.ontime)


class TestCreate:
    def test_it_is_empty_and_costs_nothing(self):
        dataset = MapDataset.create(whole_geometry().geom, binsz_irf="1 deg", name="empty")
        assert dataset.geometry.geom_irf.shape_image == (6, 8)
        for name in ("counts", "background", "mask_safe", "exposure", "psf", "edisp"):
            array = dataset.array(name)
            assert not array.any()
            assert array.strides == (0,) * array.ndim
        assert len(dataset.gti) == 0
        assert dataset.ontime == 0.0
        assert dataset.livetime == 0.0


class TestCutout:
    def test_arrays_are_views_of_the_part(self, dataset):
        position = dataset.geom.pix_to_vectors(4.0, 6.0)
        part = dataset.cutout(position, 2 * u.deg, name="part")
        box = part.geometry.box_in(dataset.geometry)
        for name in ("counts", "exposure", "psf", "edisp"):
            assert np.shares_memory(part.array(name), dataset.array(name))
            np.testing.assert_array_equal(part.array(name), dataset.array(name)[box.of(name)])
        assert (part.name, dataset.name) == ("part", "one")
        assert MapDataset.from_xarray(part.data).geometry == part.geometry

    def test_outside_the_map(self, dataset):
        with pytest.raises(NoOverlapError):
            dataset.cutout(-dataset.geom.center_vector, 1.0)


class TestBackground:
    def test_without_a_model_it_is_the_background_in_float64(self, dataset):
        npred = dataset.npred_background()
        assert npred.dtype == np.float64
        np.testing.assert_array_equal(npred, dataset.background)

    def test_a_model_multiplies_each_energy_by_its_factor(self, dataset):
        dataset.models = fov(1.7, 0.3)
        energy = dataset.geometry.energy_axis.center
        expected = dataset.array("background") * (1.7 * energy**-0.3)[:, None, None]
        np.testing.assert_allclose(dataset.npred_background(), expected, rtol=1e-14)
        np.testing.assert_allclose(dataset.npred(), expected, rtol=1e-14)

    def test_predicted_counts_are_not_negative(self, dataset):
        dataset.models = fov(-1.0)
        assert dataset.npred_background().max() < 0
        assert (dataset.npred() == 0).all()

    def test_other_models_are_refused(self, dataset):
        with pytest.raises(UnsupportedError, match="str"):
            dataset.models = "background"


class TestOthersFromIt:
    def test_with_arrays_shares_the_rest(self, dataset):
        mask = np.zeros(dataset.geometry.shapes["mask_safe"], dtype=bool)
        dataset._workspace = marker = object()
        dataset.models = fov(2.0)
        other = dataset.with_arrays(mask_safe=mask, mask_fit=mask, psf=None, psf_exposure=None)
        assert not other.array("mask_safe").any()
        assert dataset.array("mask_safe").any()
        assert np.shares_memory(other.array("counts"), dataset.array("counts"))
        assert other.psf is None
        assert other._workspace is marker
        assert other.models is dataset.models

    def test_with_arrays_knows_its_names(self, dataset):
        with pytest.raises(SchemaError, match="'flux'"):
            dataset.with_arrays(flux=np.zeros(1))

    def test_a_new_exposure_keeps_the_livetime(self, dataset):
        assert dataset.with_arrays(exposure=2 * dataset.array("exposure")).livetime == dataset.livetime

    def test_a_copy_is_deep_and_leaves_the_workspace(self, dataset):
        dataset._workspace = object()
        dataset.models = fov(2.0)
        copy = dataset.copy("two")
        copy.data["counts"][:] = 0
        copy.models.spectral_model.norm.value = 5.0
        assert dataset.array("counts").any()
        assert dataset.models.spectral_model.norm.value == 2.0
        assert (copy.name, dataset.name) == ("two", "one")
        assert copy._workspace is None

    def test_it_survives_pickle(self, dataset):
        copy = pickle.loads(pickle.dumps(dataset))
        assert copy.data.identical(dataset.data)
        assert copy.geometry == dataset.geometry

    def test_models_travel_in_the_attributes(self, dataset):
        dataset.models = fov(1.5, 0.1)
        back = MapDataset.from_xarray(dataset.to_xarray())
        np.testing.assert_array_equal(back.background_factor(), dataset.background_factor())
        assert "models" not in back.data.attrs
        assert back.data.identical(dataset.data)

    def test_masks_combine(self, dataset):
        fit = np.zeros(dataset.geometry.shapes["mask_safe"], dtype=bool)
        fit[1] = True
        both = dataset.with_arrays(mask_fit=fit).mask
        np.testing.assert_array_equal(both, dataset.array("mask_safe") & fit)
        np.testing.assert_array_equal(dataset.mask, dataset.mask_safe)

    def test_to_masked_leaves_out_what_is_not_safe(self, dataset):
        masked = dataset.to_masked("masked")
        mask = dataset.array("mask_safe")
        np.testing.assert_array_equal(masked.array("counts"), dataset.array("counts") * mask)
        np.testing.assert_array_equal(masked.array("background"), dataset.array("background") * mask)
        np.testing.assert_array_equal(masked.array("exposure"), dataset.array("exposure") * mask.any(axis=0))
        np.testing.assert_array_equal(masked.array("mask_safe"), mask)


class TestStackInPlace:
    def test_the_mask_of_the_other_counts_and_its_own_does_not(self, dataset):
        other = random_dataset(part_of(dataset.geometry, 5.0, 5.0, 3.0), 2)
        before = dataset.copy()
        dataset.stack(other)
        box = other.geometry.box_in(before.geometry)
        expected = before.array("counts").copy()
        expected[box.of("counts")] += other.array("counts") * other.array("mask_safe")
        np.testing.assert_array_equal(dataset.array("counts"), expected)
        safe = before.array("mask_safe").copy()
        safe[box.of("mask_safe")] |= other.array("mask_safe")
        np.testing.assert_array_equal(dataset.array("mask_safe"), safe)
        assert dataset.livetime == pytest.approx(before.livetime + other.livetime, rel=1e-15)
        assert len(dataset.observations) == 2

    def test_onto_an_empty_dataset(self):
        whole, part = whole_geometry(), part_of(whole_geometry(), 5.0, 5.0, 3.0)
        total = MapDataset.create(whole)
        total.stack(random_dataset(part, 3))
        total.stack(random_dataset(part, 4))
        assert sorted(total.observations["obs_id"]) == sorted(
            [random_dataset(part, n).observations["obs_id"][0] for n in (3, 4)]
        )


def test_summary_counts_inside_the_safe_range(dataset):
    dataset.models = fov(1.5)
    summary = dataset.summary(stat=True)
    mask, exposure = dataset.array("mask_safe"), dataset.array("exposure")
    assert summary.counts == dataset.array("counts")[mask].sum()
    assert summary.background == pytest.approx(dataset.array("background")[mask].sum(dtype=float), rel=1e-12)
    assert summary.npred_background == pytest.approx(1.5 * summary.background, rel=1e-12)
    assert summary.excess == pytest.approx(summary.counts - summary.npred_background, rel=1e-12)
    assert summary.n_bins == mask.size
    assert summary.n_fit_bins == mask.sum()
    assert summary.exposure_min == exposure[:, mask.any(axis=0)].min()
    assert summary.exposure_max == exposure[:, mask.any(axis=0)].max()
    assert summary.counts_rate == pytest.approx(summary.counts / summary.livetime)
    n, mu = dataset.array("counts")[mask], dataset.npred().values[mask]
    assert summary.stat_sum == pytest.approx(2 * np.sum(mu - n * np.log(mu)), rel=1e-12)
    assert np.isnan(dataset.summary().stat_sum)
    info = dataset.info_dict()
    assert info["stat_sum"] == summary.stat_sum
    assert info["exposure_min"].unit == "m2 s"
    assert info["livetime"].unit == "s"
    assert info["background_rate"].unit == "1 / s"


def test_summary_leaves_out_what_is_not_a_number_outside_the_safe_range(dataset):
    mask = dataset.array("mask_safe")
    background = np.where(mask, dataset.array("background"), np.nan)
    assert dataset.with_arrays(background=background).summary() == dataset.summary()


def test_summary_with_a_negative_background(dataset):
    background = dataset.array("background").copy()
    background[0, :6] *= -1
    dataset = dataset.with_arrays(background=background)
    mask = dataset.array("mask_safe")
    assert dataset.summary().npred == pytest.approx(
        np.maximum(background, 0)[mask].sum(dtype=float), rel=1e-12
    )


def test_exposure_range_of_a_dataset_without_a_safe_bin(dataset):
    mask = np.zeros(dataset.geometry.shapes["mask_safe"], dtype=bool)
    summary = dataset.with_arrays(mask_safe=mask).summary()
    assert summary.exposure_max == dataset.array("exposure").max()
    assert (summary.counts, summary.n_fit_bins) == (0, 0)


def test_print_shows_the_lines_of_the_field():
    geometry = whole_geometry()
    shapes = geometry.shapes
    dataset = MapDataset.from_arrays(
        geometry,
        "stacked",
        counts=np.full(shapes["counts"], 2),
        background=np.full(shapes["background"], 1.5),
        exposure=np.full(shapes["exposure"], 6.28e7),
        livetime=100.0,
    )
    assert str(dataset) == (
        "MapDataset\n"
        "----------\n"
        "\n"
        "  Name                            : stacked \n"
        "\n"
        "  Total counts                    : 1152 \n"
        "  Total background counts         : 864.00\n"
        "  Total excess counts             : 288.00\n"
        "\n"
        "  Predicted counts                : 864.00\n"
        "  Predicted background counts     : 864.00\n"
        "  Predicted excess counts         : nan\n"
        "\n"
        "  Exposure min                    : 6.28e+07 m2 s\n"
        "  Exposure max                    : 6.28e+07 m2 s\n"
        "\n"
        "  Number of total bins            : 576 \n"
        "  Number of fit bins              : 576 \n"
        "\n"
        "  Fit statistic type              : cash\n"
        "  Fit statistic value (-2 log(L)) : nan\n"
        "\n"
        "  Number of models                : 0 \n"
        "  Number of parameters            : 0\n"
        "  Number of free parameters       : 0\n"
        "\n"
    )
    dataset.models = fov(1.25)
    text = str(dataset)
    assert "Number of models                : 1 \n" in text
    assert "Number of parameters            : 3\n" in text
    assert "Number of free parameters       : 1\n" in text
    assert "Component 0: FoVBackgroundModel" in text
    assert "1.250" in text


class TestObservationTable:
    rows = (
        ObservationRow(7, 20.0, 30.0, 10.0, 9.0, 1.0, 2.0),
        ObservationRow(3, 10.0, 15.0, 5.0, 4.0, 1.0, 2.0, used=False),
        ObservationRow(5, 10.0, 15.0, 5.0, 4.5, 1.0, 2.0),
    )

    def test_rows_come_back(self):
        table = ObservationTable.from_rows(self.rows)
        assert [r.obs_id for r in table] == [7, 3, 5]
        assert ObservationTable.from_rows(list(table)) == table
        assert table != table.replace(ontime=np.zeros(3))

    def test_order_and_livetime(self):
        table = ObservationTable.from_rows(self.rows).in_time_order()
        assert table["obs_id"].tolist() == [3, 5, 7]
        assert table.livetime == 13.5

    def test_shift_moves_times_only(self):
        table = ObservationTable.from_rows(self.rows).shifted(100.0)
        assert table["tstart"].tolist() == [120.0, 110.0, 110.0]
        assert table["ontime"].tolist() == [10.0, 5.0, 5.0]

    def test_columns_are_checked_together(self):
        columns = dict(ObservationTable.from_rows(self.rows).columns)
        columns["extra"] = columns.pop("zenith")
        with pytest.raises(SchemaError) as error:
            ObservationTable(columns)
        assert len(error.value.issues) == 2
        with pytest.raises(SchemaError, match="different lengths"):
            ObservationTable.from_rows(self.rows).replace(zenith=np.zeros(2))
