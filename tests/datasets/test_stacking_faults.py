"""Datasets that cannot be stacked: the error names the dataset, and says which number differs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gammaflow.datasets import Datasets, MapDatasetGeometry, combine, finish, lift, stack
from gammaflow.datasets.collection import DatasetNameError
from gammaflow.errors import GammaflowError, GeometryError, StackingError
from gammaflow.maps import MapAxis, WcsGeom
from tests.datasets.small import (
    ENERGY,
    ENERGY_TRUE,
    RAD,
    any_dataset,
    random_dataset,
    whole_geometry,
)

TAGS = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff")


def with_axes(energy=ENERGY, true=ENERGY_TRUE, rad=RAD, width=(8.0, 6.0), binsz=0.5):
    geom = WcsGeom.create(
        skydir=(0.0, 0.0), frame="galactic", proj="CAR", width=width, binsz=binsz, axes=[energy]
    )
    return MapDatasetGeometry.create(geom, true, rad, binsz_irf=1.0)


def bounds(low, high, nbin, name="energy"):
    return MapAxis.from_energy_bounds(f"{low} TeV", f"{high} TeV", nbin=nbin, name=name)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (with_axes(energy=bounds(0.1, 11, 3)), r"axis 'energy': edge 1"),
        (with_axes(energy=bounds(0.1, 10, 4)), r"axis 'energy': .*4 and 3|axis 'energy': .*3 and 4"),
        (with_axes(true=bounds(0.08, 13, 4, "energy_true")), r"axis 'energy_true': edge 1"),
        (with_axes(rad=MapAxis.from_bounds(0.0, 0.6, 5, "rad", "deg", "lin")), r"axis 'rad': edge 1"),
        (with_axes(binsz=0.25), r"CDELT1"),
        (whole_geometry(lon=1.0), r"CRVAL1"),
        (whole_geometry(proj="TAN"), r"projection"),
        (whole_geometry(frame="icrs"), r"frame"),
        (whole_geometry(binsz_irf=0.5), r"CDELT1"),
        (whole_geometry(migra=True), r"migra"),
    ],
)
def test_the_number_that_differs_is_named(other, said):
    one = random_dataset(whole_geometry(), 1)
    two = random_dataset(other, 2)
    for call in (
        lambda: stack([one, two]),
        lambda: Datasets([one, two]).stack_reduce(),
        lambda: one.stack(two),
    ):
        with pytest.raises((GeometryError, StackingError), match=said):
            call()


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("key", ["telescope", "instrument"])
def test_different_instruments_are_not_stacked(tag, key):
    one, two, none = (
        any_dataset(tag, n, name=f"d{n}", meta=meta)
        for n, meta in ((1, {key: "HESS", "run": 1}), (2, {key: "CTA", "run": 1}), (3, {"run": 1}))
    )
    said = rf"dataset d2: its {key} is 'CTA', that of the others 'HESS'.*jointly"
    with pytest.raises(StackingError, match=said):
        stack([one, two])
    with pytest.raises(StackingError, match=said):
        stack([one, none, two])  # what does not say it comes between
    with pytest.raises(StackingError, match=f"partial sums: its {key}"):
        combine([lift(one, one.geometry), lift(two, one.geometry)])
    assert stack([one, none]).meta == {key: "HESS", "run": 1}


def test_what_all_say_is_kept_whatever_the_order_and_grouping():
    metas = [{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 3}, {"a": 1, "b": 1}]
    partials = [
        lift(d, d.geometry) for n, m in enumerate(metas) for d in [any_dataset("SpectrumDataset", n, meta=m)]
    ]
    for order in itertools.permutations(partials):
        assert finish(combine(order)).meta == {}
        assert finish(combine([combine(order[:2]), combine(order[2:])])).meta == {}
    assert finish(combine(partials[:2])).meta == {"b": 1}


@pytest.mark.parametrize("tag", TAGS)
def test_types_do_not_mix(tag):
    other = next(t for t in TAGS if t != tag and t.startswith(tag[:3]))
    with pytest.raises(StackingError, match=f"dataset two: it is a {other}, the others are {tag}"):
        stack([any_dataset(tag, 1, name="one"), any_dataset(other, 2, name="two")])


def test_two_datasets_of_one_name():
    with pytest.raises(DatasetNameError, match="two datasets are named 'one'"):
        Datasets([any_dataset("MapDataset", 1, name="one"), any_dataset("SpectrumDataset", 2, name="one")])


def test_what_was_stacked_before_a_fault_is_as_it_was():
    one = random_dataset(whole_geometry(), 1)
    before = one.array("counts").copy()
    with pytest.raises(GammaflowError):
        one.stack(random_dataset(whole_geometry(lon=1.0), 2))
    np.testing.assert_array_equal(one.array("counts"), before)
