"""ON/OFF datasets: the background they measure, their statistic, and the laws of their sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gammaflow.datasets import (
    MapDataset,
    MapDatasetOnOff,
    Partial,
    SpectrumDataset,
    SpectrumDatasetOnOff,
    combine,
    finish,
    lift,
    prediction,
    stack,
)
from gammaflow.errors import StackingError, UnsupportedError
from gammaflow.modeling import FoVBackgroundModel, PowerLawSpectralModel, SkyModel
from gammaflow.stats import wstat
from tests.datasets.small import any_dataset, part_of, random_dataset, spectrum_geometry, whole_geometry

quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TYPES = ("MapDatasetOnOff", "SpectrumDatasetOnOff")
ON_OFF = ("counts", "counts_off", "acceptance", "background")
WHOLE = whole_geometry()
SPECTRUM = spectrum_geometry()


@st.composite
def on_off_datasets(draw: st.DrawFn) -> list[Any]:
    """Some maps on parts of one map, or some spectra of one region."""
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
    safe = [draw(st.sampled_from([0.0, 0.3, 1.0])) for _ in seeds]
    if draw(st.booleans()):
        return [
            random_dataset(SPECTRUM, s, safe=f, kind=SpectrumDatasetOnOff)
            for s, f in zip(seeds, safe, strict=True)
        ]
    places = [(draw(st.floats(0, 15)), draw(st.floats(0, 11))) for _ in seeds]
    return [
        random_dataset(part_of(WHOLE, x, y, 4.0), s, safe=f, kind=MapDatasetOnOff)
        for s, f, (x, y) in zip(seeds, safe, places, strict=True)
    ]


def parent_of(dataset: Any) -> Any:
    return dataset.geometry.parent


def on_the_whole(partial: Partial) -> dict[str, np.ndarray]:
    out = {}
    for name, values in partial.sums.items():
        out[name] = np.zeros(partial.parent.cube_shapes[name], dtype=values.dtype)
        out[name][partial.box.of(name)] = values
    return out


class TestLaws:
    @quick
    @given(on_off_datasets(), st.data())
    def test_any_order_and_grouping_gives_the_same(self, operands, data):
        parent = parent_of(operands[0])
        partials = [lift(d, parent) for d in operands]
        shuffled = data.draw(st.permutations(partials))
        cut = data.draw(st.integers(0, len(partials)))
        groups = [g for g in (shuffled[:cut], shuffled[cut:]) if g]
        one, two = combine(partials), combine([combine(g) for g in groups])
        x, y = on_the_whole(one), on_the_whole(two)
        assert set(x) == set(y) >= set(ON_OFF)
        for name in x:
            np.testing.assert_allclose(x[name], y[name], rtol=1e-13, err_msg=name)

    @quick
    @given(on_off_datasets())
    def test_the_same_grouping_gives_the_same_bits(self, operands):
        parent = parent_of(operands[0])
        one, two = (finish(combine([lift(d, parent) for d in operands])) for _ in range(2))
        assert one.data.identical(two.data)
        assert stack(operands, geometry=parent).data.identical(one.data)

    @quick
    @given(on_off_datasets())
    def test_partials_survive_being_written_as_xarray(self, operands):
        total = combine([lift(d, parent_of(operands[0])) for d in operands])
        again = Partial.from_xarray(total.to_xarray())
        assert again.dataset_type == operands[0].tag
        assert finish(again).data.identical(finish(total).data)

    @quick
    @given(on_off_datasets())
    def test_nothing_is_the_identity(self, operands):
        partial = lift(operands[0], parent_of(operands[0]))
        nothing = Partial(partial.parent)
        for total in (combine([nothing, partial]), combine([partial, nothing])):
            assert finish(total).data.identical(finish(partial).data)

    @quick
    @given(on_off_datasets())
    def test_counts_background_and_excess_are_conserved(self, operands):
        stacked = stack(operands, geometry=parent_of(operands[0]))
        expected = dict.fromkeys(("counts", "counts_off", "acceptance", "background"), 0.0)
        for d in operands:
            for name in expected:
                expected[name] += np.sum(getattr(d, name).values[d.array("mask_safe")], dtype=float)
        for name, value in expected.items():
            assert np.sum(getattr(stacked, name).values, dtype=float) == pytest.approx(value, rel=1e-6), name
        excess = expected["counts"] - expected["background"]
        assert float(stacked.excess.sum()) == pytest.approx(excess, rel=1e-6, abs=1e-4)

    @quick
    @given(on_off_datasets(), st.sampled_from([0.25, 8.0]))
    def test_alpha_does_not_depend_on_how_acceptances_are_normalised(self, operands, factor):
        # the reference text sets the stacked acceptance to one, we add: the ratio is the same
        def scaled(d: Any) -> Any:
            return d.with_arrays(
                acceptance=d.array("acceptance") * factor, acceptance_off=d.array("acceptance_off") * factor
            )

        parent = parent_of(operands[0])
        one = stack(operands, geometry=parent)
        two = stack([scaled(d) for d in operands], geometry=parent)
        np.testing.assert_allclose(two.alpha, one.alpha, rtol=1e-6)
        np.testing.assert_allclose(two.acceptance, factor * one.acceptance, rtol=1e-6)


class TestStacking:
    def test_bins_without_off_counts_take_alpha_from_all(self):
        shape = SPECTRUM.shapes["counts"]
        off = np.array([4, 0, 6])
        d = SpectrumDatasetOnOff.from_arrays(
            SPECTRUM, "d", counts=np.ones(shape, int), counts_off=off, acceptance=[1.0, 2.0, 1.0],
            acceptance_off=[4.0, 5.0, 5.0],
        )  # fmt: skip
        stacked = stack([d])
        mean = (4 / 4 + 6 / 5) / 10
        np.testing.assert_allclose(stacked.alpha, [1 / 4, mean, 1 / 5], rtol=1e-6)
        np.testing.assert_allclose(stacked.acceptance_off, [4, 2 / mean, 5], rtol=1e-6)

    @pytest.mark.parametrize("tag", TYPES)
    def test_an_observation_without_off_region_is_listed_and_adds_nothing(self, tag):
        whole = any_dataset(tag, 1)
        none = any_dataset(tag, 2, safe=0.0).with_arrays(counts_off=None, acceptance_off=None)
        stacked = stack([none, whole])
        np.testing.assert_array_equal(stacked.counts_off, stack([whole]).counts_off)
        assert sorted(stacked.observations["used"]) == [False, True]

    @pytest.mark.parametrize("tag", TYPES)
    def test_safe_bins_need_off_counts(self, tag):
        with pytest.raises(StackingError, match="no OFF counts"):
            stack([any_dataset(tag).with_arrays(counts_off=None)])

    def test_types_do_not_mix(self):
        with pytest.raises(StackingError, match="SpectrumDataset, the others are SpectrumDatasetOnOff"):
            stack([any_dataset("SpectrumDatasetOnOff", 1), any_dataset("SpectrumDataset", 2)])

    def test_to_masked_keeps_the_type(self):
        d = any_dataset("SpectrumDatasetOnOff")
        masked = d.to_masked()
        assert type(masked) is SpectrumDatasetOnOff
        np.testing.assert_array_equal(masked.counts_off, d.array("counts_off") * d.array("mask_safe"))

    @pytest.mark.parametrize("tag", TYPES)
    def test_in_place(self, tag):
        total = any_dataset(tag, 1).to_masked()
        total.stack(any_dataset(tag, 2))
        expected = stack([any_dataset(tag, 1), any_dataset(tag, 2)])
        np.testing.assert_allclose(total.background, expected.background, rtol=1e-6)
        assert total.livetime == pytest.approx(expected.livetime)


# on, off, acceptances, and what must come out: the statistic of two texts, never NaN
EDGES = {
    "ON only": (5, 0, 1.0, 4.0),
    "OFF only": (0, 5, 1.0, 4.0),
    "neither": (0, 0, 1.0, 4.0),
    "no ON acceptance": (3, 2, 0.0, 4.0),
    "no OFF acceptance": (3, 2, 1.0, 0.0),
    "no acceptance": (0, 0, 0.0, 0.0),
}


@pytest.mark.parametrize("case", EDGES)
def test_edges_of_the_statistic(case):
    on, off, acceptance, acceptance_off = EDGES[case]
    shape = SPECTRUM.shapes["counts"]
    d = SpectrumDatasetOnOff.from_arrays(
        SPECTRUM, "d", counts=np.full(shape, on), counts_off=np.full(shape, off),
        acceptance=np.full(shape, acceptance), acceptance_off=np.full(shape, acceptance_off),
    )  # fmt: skip
    stat = d.stat_array().values
    assert np.isfinite(stat).all()
    if min(acceptance, acceptance_off) > 0:
        np.testing.assert_allclose(stat, wstat(on, off, acceptance / acceptance_off, 0.0))
    else:
        assert (stat == 0).all()
    assert np.isfinite(d.npred().values).all()
    assert np.isfinite(d.background.values).all()
    assert d.stat_sum() == pytest.approx(stat.sum())
    masked = d.with_arrays(mask_safe=np.zeros(shape, bool))
    assert masked.stat_sum() == 0
    assert np.isfinite(masked.summary(stat=True).stat_sum)


@pytest.mark.parametrize("tag", TYPES)
@pytest.mark.parametrize("signal", [0.0, 3.0, -2.0])
@pytest.mark.parametrize("edge", EDGES)
def test_edges_with_sources_are_numbers_everywhere(tag, signal, edge, monkeypatch):
    monkeypatch.setattr(prediction, "_REGISTERED", [lambda d, sources: np.full(d.data_shape, signal)])
    on, off, acceptance, acceptance_off = EDGES[edge]
    d = any_dataset(tag)
    shape = d.data_shape
    d = d.with_arrays(
        counts=np.full(shape, on), counts_off=np.full(shape, off), mask_safe=np.ones(shape, bool),
        acceptance=np.full(shape, acceptance), acceptance_off=np.full(shape, acceptance_off),
    )  # fmt: skip
    d.models = SkyModel(PowerLawSpectralModel(), name="src")
    for found in (d.stat_array(), d.npred(), d.npred_background(), d.npred_off(), d.excess):
        assert np.isfinite(found.values).all()
    assert np.isfinite([d.stat_sum(), d.summary(stat=True).stat_sum]).all()
    assert (d.npred().values >= 0).all()
    d.mask_fit = np.zeros(shape, bool)
    assert d.stat_sum() == 0


def test_without_off_counts_only_a_masked_dataset_has_a_statistic():
    d = any_dataset("SpectrumDatasetOnOff").with_arrays(counts_off=None)
    with pytest.raises(UnsupportedError, match="no OFF counts"):
        d.stat_sum()
    assert d.with_arrays(mask_safe=np.zeros(d.data_shape, bool)).stat_sum() == 0
    assert d.background is None
    assert d.excess is None


@pytest.mark.parametrize("tag", TYPES)
class TestConversion:
    def test_background_is_alpha_times_off(self, tag):
        d = any_dataset(tag)
        alpha = d.array("acceptance").astype(float) / d.array("acceptance_off")
        np.testing.assert_allclose(d.alpha, alpha, rtol=1e-15)
        np.testing.assert_allclose(d.background, alpha * d.array("counts_off"), rtol=1e-15)
        np.testing.assert_array_equal(d.background, d.counts_off_normalised)
        np.testing.assert_allclose(d.excess, d.counts - d.background)
        np.testing.assert_allclose(d.npred_off() * d.alpha, d.npred_background(), atol=1e-12)

    def test_there_and_back(self, tag):
        d = any_dataset(tag)
        modelled = d.to_map_dataset("m") if tag.startswith("Map") else d.to_spectrum_dataset("m")
        assert type(modelled) is (MapDataset if tag.startswith("Map") else SpectrumDataset)
        np.testing.assert_allclose(modelled.background, d.background, rtol=1e-6)
        back = type(d).from_map_dataset(modelled, d.acceptance, d.acceptance_off, d.counts_off, d.name)
        assert back.data.identical(d.data)

    def test_off_counts_from_a_background(self, tag):
        d = any_dataset(tag)
        modelled = d.to_map_dataset() if tag.startswith("Map") else d.to_spectrum_dataset()
        made = type(d).from_map_dataset(modelled, 1.0, 4.0)
        np.testing.assert_array_equal(
            made.counts_off, np.rint(4 * modelled.array("background").astype(float))
        )
        assert type(d).from_map_dataset(modelled, 1.0, None).counts_off is None

    def test_no_background_model(self, tag):
        with pytest.raises(UnsupportedError, match="background model"):
            any_dataset(tag, name="d").models = FoVBackgroundModel(dataset_name="d")

    def test_fake_draws_about_what_is_expected(self, tag):
        d = any_dataset(tag)
        expected = np.full(d.data_shape, 1000.0)
        d.fake(expected, random_state=1)
        assert d.array("counts").mean() == pytest.approx(1000.0, rel=0.05)
        assert d.background.values.mean() == pytest.approx(1000.0, rel=0.05)
        first = d.array("counts").copy()
        d.fake(expected, random_state=1)
        np.testing.assert_array_equal(d.array("counts"), first)


class TestSources:
    @pytest.fixture
    def source(self):
        return SkyModel(PowerLawSpectralModel(), name="src")

    def test_nothing_to_compute_them_is_said(self, source, monkeypatch):
        monkeypatch.setattr(prediction, "_REGISTERED", [])
        monkeypatch.setattr(prediction, "load_plugins", lambda: None)
        d = any_dataset("SpectrumDatasetOnOff")
        assert (d.npred_signal() == 0).all()
        d.models = source
        with pytest.raises(UnsupportedError, match="nothing computes the counts of src"):
            d.npred_signal()

    def test_the_registered_prediction_enters_everything(self, source, monkeypatch):
        monkeypatch.setattr(
            prediction, "_REGISTERED", [lambda d, sources: np.full(d.data_shape, 2.0 * len(sources))]
        )
        d = any_dataset("SpectrumDatasetOnOff")
        alone = d.npred_background().values
        d.models = [source, SkyModel(PowerLawSpectralModel(), name="other", datasets_names=["else"])]
        assert [m.name for m in d.sky_models] == ["src"]
        np.testing.assert_array_equal(d.npred_signal(), np.full(d.data_shape, 2.0))
        assert (d.npred_signal("nobody") == 0).all()
        assert not np.allclose(d.npred_background(), alone)
        np.testing.assert_allclose(d.npred(), d.npred_background() + 2.0)
        np.testing.assert_allclose(
            d.stat_array(), wstat(d.counts, d.counts_off, d.alpha, np.full(d.data_shape, 2.0)), rtol=1e-12
        )
        mask = d.array("mask_safe")
        assert d.summary().npred_signal == pytest.approx(2.0 * mask.sum())
        residuals = d.residuals("diff/sqrt(model)")
        np.testing.assert_array_equal(np.isnan(residuals), ~mask)
        assert "Number of models                : 1" in str(d)
        assert d.copy().sky_models[0] is not d.sky_models[0]
        with pytest.raises(UnsupportedError, match="residuals by"):
            d.residuals("ratio")

    def test_a_background_model_stays_when_only_sources_are_set(self, source):
        d = any_dataset("SpectrumDataset", name="d")
        d.models = own = FoVBackgroundModel(dataset_name="d")
        d.models = [source]
        assert d.background_model is own
        assert d.models.names == ["src", "d-bkg"]
        d.models = None
        assert d.models is None
