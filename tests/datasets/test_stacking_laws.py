"""The laws of stacking, for every type of dataset: what may be done in any order, and what is conserved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gammaflow.datasets import (
    Datasets,
    MapDataset,
    MapDatasetOnOff,
    SpectrumDataset,
    SpectrumDatasetOnOff,
    combine,
    finish,
    lift,
    stack,
)
from tests.datasets.small import part_of, random_dataset, spectrum_geometry, whole_geometry

TYPES: dict[str, Any] = {
    t.tag: t for t in (MapDataset, MapDatasetOnOff, SpectrumDataset, SpectrumDatasetOnOff)
}
ON_OFF = [tag for tag in TYPES if tag.endswith("OnOff")]
WHOLE = whole_geometry(
    binsz_irf=0.5
)  # a pixel of the responses is one of the map: npred is conserved pixel by pixel
SPECTRUM = spectrum_geometry()
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def operands(draw: st.DrawFn, tag: str) -> list[Any]:
    """One to four datasets of a type, on parts of a map or of one region; some with no safe bin, some without OFF."""
    seeds = draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True))
    made = []
    for seed in seeds:
        whole = tag.startswith("Spectrum")
        geometry: Any = (
            SPECTRUM if whole else part_of(WHOLE, draw(st.floats(0, 15)), draw(st.floats(0, 11)), 4.0)
        )
        dataset = random_dataset(geometry, seed, safe=draw(st.sampled_from([0.0, 0.3, 1.0])), kind=TYPES[tag])
        if tag.endswith("OnOff") and draw(st.booleans()):
            dataset = dataset.with_arrays(counts_off=dataset.array("counts_off") * (seed % 3 == 0))
        made.append(dataset)
    return made


def parent_of(datasets: list[Any]) -> Any:
    return datasets[0].geometry.parent


def on_parent(dataset: Any, name: str, values: np.ndarray) -> np.ndarray:
    """An array of a dataset on all pixels of the whole geometry."""
    parent = dataset.geometry.parent
    out = np.zeros((*values.shape[:-2], *parent.cube_shapes[name][-2:]))
    out[dataset.geometry.box_in(parent).of(name)] = values
    return out


def assert_close(one: Any, two: Any) -> None:
    """Equal but for the rounding of float32; what stands in bins without weight means nothing."""
    assert set(one.data.variables) == set(two.data.variables)
    for name in one.arrays:
        if name in one.data.variables:
            np.testing.assert_allclose(one.array(name), two.array(name), rtol=2e-6, err_msg=name)
    assert one.observations == two.observations
    assert one.livetime == pytest.approx(two.livetime)
    np.testing.assert_array_equal(one.gti.start, two.gti.start)


@pytest.mark.parametrize("tag", TYPES)
class TestOrder:
    @quick
    @given(data=st.data())
    def test_any_order_and_grouping_gives_the_same(self, tag: str, data: st.DataObject) -> None:
        datasets = data.draw(operands(tag))
        partials = [lift(d, parent_of(datasets)) for d in datasets]
        order = data.draw(st.permutations(range(len(partials))))
        cut = data.draw(st.integers(0, len(partials)))
        groups = [[partials[i] for i in part] for part in (order[:cut], order[cut:]) if part]
        assert_close(finish(combine(partials)), finish(combine([combine(group) for group in groups])))

    @quick
    @given(data=st.data())
    def test_an_empty_dataset_is_the_identity(self, tag: str, data: st.DataObject) -> None:
        (dataset,) = data.draw(operands(tag).map(lambda made: made[:1]))
        empty = TYPES[tag]._empty(parent_of([dataset]), "empty", "2000-01-01")
        alone = stack([dataset], geometry=parent_of([dataset]))
        for pair in ([empty, dataset], [dataset, empty]):
            assert_close(stack(pair, geometry=parent_of([dataset])), alone)
        empty.stack(dataset)  # in place
        assert_close(empty, alone)

    @quick
    @given(data=st.data())
    def test_stacking_in_place_one_by_one_is_stacking_all(self, tag: str, data: st.DataObject) -> None:
        datasets = data.draw(operands(tag))
        total = TYPES[tag]._empty(parent_of(datasets), "stacked", "2000-01-01")
        for dataset in datasets:
            total.stack(dataset)
        whole = stack(datasets, geometry=parent_of(datasets))
        for name in ("counts", "mask_safe", "exposure"):
            np.testing.assert_allclose(total.array(name), whole.array(name), rtol=2e-6)
        np.testing.assert_allclose(total.background, whole.background, rtol=1e-5, atol=1e-6)

    @quick
    @given(data=st.data())
    def test_the_same_operands_give_the_same_bits(self, tag: str, data: st.DataObject) -> None:
        datasets = data.draw(operands(tag))
        one, two = (stack(datasets, geometry=parent_of(datasets)) for _ in range(2))
        assert one.data.identical(two.data)
        assert Datasets(datasets).stack_reduce(geometry=parent_of(datasets)).data.identical(one.data)


@pytest.mark.parametrize("tag", TYPES)
class TestConservation:
    @quick
    @given(data=st.data())
    def test_the_excess_of_every_bin_is_that_of_the_operands(self, tag: str, data: st.DataObject) -> None:
        datasets = data.draw(operands(tag))
        stacked = stack(datasets, geometry=parent_of(datasets))
        for name in ("counts", "background", "excess"):
            expected = sum(
                on_parent(d, "counts", np.where(d.cube("mask_safe"), cube_of(d, name), 0.0)) for d in datasets
            )
            np.testing.assert_allclose(cube_of(stacked, name), expected, rtol=3e-6, atol=3e-6, err_msg=name)

    @quick
    @given(data=st.data(), seed=st.integers(0, 1000))
    def test_predicted_counts_are_those_of_the_operands(
        self, tag: str, data: st.DataObject, seed: int
    ) -> None:
        """Of any flux: sum_l flux_l epsilon_l edisp_kl, where it is safe."""
        datasets = data.draw(operands(tag))
        flux = np.random.default_rng(seed).random((4, 1, 1, 1))

        def npred(dataset: Any) -> np.ndarray:
            weight = dataset.cube("edisp_exposure").astype(float)[:, None]
            return np.asarray((dataset.cube("edisp") * weight * flux).sum(axis=0))

        expected = np.zeros(parent_of(datasets).cube_shapes["counts"])
        for d in datasets:
            safe = on_parent(d, "counts", d.cube("mask_safe").astype(float))
            box = d.geometry.box_in(parent_of(datasets)).of("edisp")
            expected[box] += npred(d) * safe[box]
        stacked = stack(datasets, geometry=parent_of(datasets))
        np.testing.assert_allclose(npred(stacked), expected, rtol=2e-6)


def cube_of(dataset: Any, name: str) -> np.ndarray:
    values = getattr(dataset, name).values.astype(float)
    return np.asarray(values.reshape(dataset.geometry.cube_shapes["counts"]))


@pytest.mark.parametrize("tag", ON_OFF)
class TestAlpha:
    @quick
    @given(data=st.data())
    def test_it_is_the_mean_weighted_with_off_counts(self, tag: str, data: st.DataObject) -> None:
        """alpha = (sum_j alpha_j OFF_j) / (sum_j OFF_j); without OFF counts in the bin the sums over all bins."""
        datasets = data.draw(operands(tag))
        parent = parent_of(datasets)
        off, weighted, acceptance = (np.zeros(parent.cube_shapes["counts"]) for _ in range(3))
        for d in datasets:
            safe = d.cube("mask_safe")
            off += on_parent(d, "counts", np.where(safe, d.cube("counts_off"), 0.0))
            weighted += on_parent(d, "counts", np.where(safe, cube_of(d, "background"), 0.0))
            acceptance += on_parent(d, "counts", np.where(safe, d.cube("acceptance"), 0.0))
        overall = weighted.sum() / off.sum() if off.sum() else 0.0
        expected = np.where(off > 0, weighted / np.where(off > 0, off, 1.0), overall)
        expected = np.where(acceptance > 0, expected, 0.0)
        stacked = stack(datasets, geometry=parent)
        np.testing.assert_allclose(cube_of(stacked, "alpha"), expected, rtol=2e-6)
        np.testing.assert_allclose(stacked.cube("acceptance"), acceptance, rtol=2e-6)

    @quick
    @given(data=st.data())
    def test_it_is_the_same_when_the_stacked_acceptance_is_set_to_one(
        self, tag: str, data: st.DataObject
    ) -> None:
        """As the reference page has it: acceptance 1, acceptance_off 1 / alpha. Only their ratio has a meaning."""
        datasets = data.draw(operands(tag))
        stacked = stack(datasets, geometry=parent_of(datasets))
        alpha = stacked.alpha.values
        off = np.divide(1.0, alpha, out=np.zeros(alpha.shape), where=alpha > 0)
        as_there = stacked.with_arrays(acceptance=(alpha > 0).astype(float), acceptance_off=off)
        np.testing.assert_allclose(as_there.alpha, stacked.alpha, rtol=1e-6)
        np.testing.assert_allclose(as_there.background, stacked.background, rtol=1e-6)
        np.testing.assert_allclose(as_there.stat_array(), stacked.stat_array(), rtol=1e-5, atol=1e-5)
        for name in (
            "alpha",
            "background",
            "counts_off",
        ):  # and goes on to be, when it is stacked with another
            one, two = (stack([d, datasets[0]], geometry=parent_of(datasets)) for d in (stacked, as_there))
            np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-5, atol=1e-6)
