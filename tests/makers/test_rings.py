"""Sums over rings, and the backgrounds made of them."""

import numpy as np
import pytest

from gammaflow.datasets import MapDataset, MapDatasetOnOff, stack
from gammaflow.errors import ConfigError, NoOffRegionError, UnsupportedError
from gammaflow.makers import (
    AdaptiveRingBackgroundMaker,
    DatasetsMaker,
    ExclusionMask,
    MapDatasetMaker,
    RingBackgroundMaker,
    SafeMaskMaker,
)
from gammaflow.makers.background.ring_sums import OffPlane, Ring, RingSums
from gammaflow.maps import WcsGeom
from gammaflow.modeling import FoVBackgroundModel
from tests.makers import small

SELECTION = ["counts", "exposure", "background"]


def reduced(**geometry):
    return MapDatasetMaker(SELECTION).make(small.geometry(**geometry), small.observation(), "one")


def excluding(dataset, region):
    image = dataset.geometry.image
    return ExclusionMask(image, image.region_mask(region, inside=False))


def by_hand(image, ring, geom):
    """The sum over the ring around each pixel, pixel by pixel."""
    kernel = ring.kernel(geom)
    y, x = np.nonzero(kernel)
    y, x = y - kernel.shape[0] // 2, x - kernel.shape[1] // 2
    ny, nx = image.shape
    total = np.zeros(image.shape)
    for j in range(ny):
        for i in range(nx):
            row, column = j + y, i + x
            inside = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
            total[j, i] = image[row[inside], column[inside]].sum()
    return total


@pytest.mark.parametrize("ring", [Ring(0.0, 1.0), Ring(3.0, 2.0), Ring(5.5, 0.7), Ring(12.0, 30.0)])
@pytest.mark.parametrize("npix", [(12, 9), (25, 31)])
def test_sums_over_a_ring_are_those_by_hand(ring, npix):
    geom = WcsGeom.create((0, 0), binsz=0.1, npix=npix)
    rng = np.random.default_rng(1)
    image, counts = rng.random(geom.shape_image), rng.poisson(0.2, geom.shape_image)
    sums = RingSums(geom, ring)
    transform = sums.ring(ring)
    np.testing.assert_allclose(
        sums.sums(sums.transform(image), transform), by_hand(image, ring, geom), atol=1e-12
    )
    np.testing.assert_array_equal(sums.counts(sums.transform(counts), transform), by_hand(counts, ring, geom))


def test_a_ring_is_round_on_the_sky_also_where_pixels_are_not():
    wide = Ring(3.0, 2.0).kernel(WcsGeom.create((0, 0), binsz=(0.1, 0.05), npix=20))
    assert wide.shape == (21, 11)
    assert wide[10, 10]
    assert not wide[10, 5]
    assert wide[0, 5]


def test_a_ring_without_background_has_exactly_none():
    geom = WcsGeom.create((0, 0), binsz=0.1, npix=(30, 30))
    background = np.zeros((30, 30))
    background[:, :8] = 1e3
    off = OffPlane.prepare(
        RingSums(geom, Ring(2.0, 2.0)), background, background, np.ones((30, 30), dtype=bool)
    )
    _, acceptance = off.over(off.sums.ring(Ring(2.0, 2.0)))
    assert (acceptance[:, 12:] == 0).all()
    assert (acceptance[:, :10] > 0).all()


def test_the_ring_of_every_energy_leaves_out_what_is_excluded():
    dataset = reduced()
    mask = excluding(dataset, "icrs;circle(83.63,22.01,0.4)")
    made = RingBackgroundMaker("0.5 deg", "0.3 deg", mask).run(dataset, small.observation())
    assert isinstance(made, MapDatasetOnOff)
    ring, geom = Ring(5.0, 3.0), dataset.geometry.image
    for k in (0, 5):
        off = np.where(mask.data, dataset.array("counts")[k], 0)
        np.testing.assert_array_equal(made.array("counts_off")[k], by_hand(off, ring, geom))
        acceptance = by_hand(np.where(mask.data, dataset.array("background")[k], 0), ring, geom)
        np.testing.assert_allclose(made.array("acceptance_off")[k], acceptance, rtol=1e-6)
    np.testing.assert_array_equal(made.array("acceptance"), dataset.array("background"))
    np.testing.assert_array_equal(made.array("exposure"), dataset.array("exposure"))
    np.testing.assert_array_equal(made.array("mask_safe"), made.array("acceptance_off") > 0)


def test_the_acceptance_is_the_background_with_its_model():
    dataset = reduced()
    dataset.models = FoVBackgroundModel(dataset_name="one")
    dataset.models.parameters["norm"].value = 2.0
    made = RingBackgroundMaker(0.5, 0.3).run(dataset)
    np.testing.assert_allclose(made.array("acceptance"), 2 * dataset.array("background"), rtol=1e-6)
    assert made.background_model is None


def test_what_was_not_safe_does_not_become_so():
    dataset = SafeMaskMaker(["offset-max"], offset_max="1 deg").run(reduced(), small.observation())
    made = RingBackgroundMaker(0.5, 0.3).run(dataset)
    assert not (made.array("mask_safe") & ~dataset.array("mask_safe")).any()
    # OFF events count wherever they are
    np.testing.assert_array_equal(
        made.array("counts_off"), RingBackgroundMaker(0.5, 0.3).run(reduced()).array("counts_off")
    )


@pytest.mark.parametrize("action", ["mask", "refuse"])
@pytest.mark.parametrize(
    "maker",
    [
        lambda **kwargs: RingBackgroundMaker("0.2 deg", "0.1 deg", **kwargs),
        lambda **kwargs: AdaptiveRingBackgroundMaker("0.2 deg", "0.5 deg", "0.1 deg", **kwargs),
    ],
)
def test_without_a_ring_outside_of_the_mask_nothing_is_safe(action, maker, caplog):
    dataset = reduced()
    whole = WcsGeom.create((small.RA, small.DEC), binsz=0.1, width=(30, 4))
    mask = ExclusionMask(whole, whole.region_mask("icrs;box(83.63,22.01,12,12,0)", inside=False))
    assert mask.data.any()
    made = maker(exclusion_mask=mask, without_off=action)
    if action == "refuse":
        with pytest.raises(NoOffRegionError, match="observation 7: no ring"):
            made.run(dataset, small.observation())
    else:
        masked = made.run(dataset, small.observation())
        assert not masked.array("mask_safe").any()
        assert "no ring" in masked.meta["background_failure"]
        assert "no bin is safe" in caplog.text


def test_a_mask_that_excludes_everything_is_refused():
    image = small.geometry().image
    nothing = ExclusionMask(image, np.zeros(image.shape_image, dtype=bool))
    for make in (
        lambda: RingBackgroundMaker(0.5, 0.3, nothing),
        lambda: AdaptiveRingBackgroundMaker(0.5, 1.0, 0.3, exclusion_mask=nothing),
    ):
        with pytest.raises(ConfigError, match="covers the whole map"):
            make()


def test_the_first_ring_that_is_large_enough_counts():
    dataset = reduced(nbin=1)
    mask = excluding(dataset, "icrs;circle(83.63,22.01,0.6)")
    maker = AdaptiveRingBackgroundMaker(0.3, 1.2, 0.2, "0.1 deg", 0.03, exclusion_mask=mask)
    made = maker.run(dataset)
    rings = maker.rings(0.1)
    assert [round(ring.r_in) for ring in rings] == list(range(3, 10))
    background = dataset.array("background")[0].astype(np.float64)
    off = [by_hand(np.where(mask.data, background, 0), ring, dataset.geometry.image) for ring in rings]
    counts = [
        by_hand(np.where(mask.data, dataset.array("counts")[0], 0), r, dataset.geometry.image) for r in rings
    ]
    enough = np.stack([background <= 0.03 * acceptance for acceptance in off])
    first = np.argmax(enough, axis=0)
    expected = np.where(enough.any(axis=0), np.take_along_axis(np.stack(counts), first[None], 0)[0], 0)
    np.testing.assert_array_equal(made.array("counts_off")[0], expected)
    assert len(np.unique(first[enough.any(axis=0)])) > 2
    np.testing.assert_array_equal(made.array("mask_safe")[0], enough.any(axis=0))


def test_rings_of_growing_width():
    rings = AdaptiveRingBackgroundMaker(0.3, 1.0, 0.2, 0.1, method="fixed_r_in").rings(0.1)
    assert [ring.r_in for ring in rings] == pytest.approx([3.0] * len(rings))
    assert [ring.width for ring in rings] == pytest.approx([2.0, 3.0, 4.0, 5.0, 6.0])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RingBackgroundMaker("0 deg", "0.3 deg"), "r_in"),
        (lambda: RingBackgroundMaker("0.5 TeV", "0.3 deg"), "r_in"),
        (lambda: RingBackgroundMaker(0.5, 0.3, without_off="drop"), "without_off"),
        (lambda: AdaptiveRingBackgroundMaker(0.5, 0.6, 0.3), "no ring"),
        (lambda: AdaptiveRingBackgroundMaker(0.5, 1.0, 0.3, method="free"), "free"),
        (lambda: AdaptiveRingBackgroundMaker(0.5, 1.0, 0.3, threshold_alpha=0), "threshold_alpha"),
    ],
)
def test_wrong_arguments_are_refused(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


def test_a_ring_needs_a_modelled_background():
    dataset = MapDatasetMaker(["counts", "exposure"]).make(small.geometry(), small.observation(), "one")
    with pytest.raises(ConfigError, match="dataset one: no counts, no background"):
        RingBackgroundMaker(0.5, 0.3).run(dataset)
    with pytest.raises(UnsupportedError, match="MapDatasetOnOff"):
        RingBackgroundMaker(0.5, 0.3).run(RingBackgroundMaker(0.5, 0.3).run(reduced()))


def test_datasets_maker_gives_maps_with_a_background_where_the_reference_has_one():
    makers = [MapDatasetMaker(SELECTION), RingBackgroundMaker(0.5, 0.3)]
    observations = [small.observation(1), small.observation(2, ra=small.RA + 0.5)]
    whole = MapDataset.create(small.geometry(), name="all")
    (plain,) = DatasetsMaker(makers).run(whole, observations)
    (on_off,) = DatasetsMaker(makers).run(MapDatasetOnOff.create(small.geometry(), name="all"), observations)
    assert type(plain) is MapDataset
    assert type(on_off) is MapDatasetOnOff
    np.testing.assert_allclose(plain.array("background"), on_off.background.values, rtol=1e-5, atol=1e-7)
    singles = DatasetsMaker(makers, stack_datasets=False).run(whole, observations)
    assert [type(d) for d in singles] == [MapDatasetOnOff] * 2
    np.testing.assert_array_equal(stack(singles).array("counts_off"), on_off.array("counts_off"))
