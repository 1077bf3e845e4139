"""Stacking: the laws of the sums, and what they conserve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gammaflow.data import GTI
from gammaflow.datasets import Accumulator, Box, MapDataset, Partial, combine, finish, lift, stack
from gammaflow.datasets.stacking import united
from gammaflow.errors import GeometryError, StackingError
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import REFERENCE, datasets, part_of, random_dataset, whole_geometry

WHOLE = whole_geometry()
MAPS = ("counts", "background", "mask_safe", "exposure")
RESPONSES = ("psf", "edisp")
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
several = st.lists(datasets(WHOLE), min_size=1, max_size=4)


def on_the_whole(partial: Partial) -> dict[str, np.ndarray]:
    """The sums on all pixels of the parent, so that partials of different extent can be compared."""
    out = {}
    for name, values in partial.sums.items():
        out[name] = np.zeros(partial.parent.shapes[name], dtype=values.dtype)
        out[name][partial.box.of(name)] = values
    return out


def assert_close(a: Partial, b: Partial) -> None:
    """Equal but for the rounding of float64."""
    x, y = on_the_whole(a), on_the_whole(b)
    assert set(x) == set(y)
    for name in x:
        np.testing.assert_allclose(x[name], y[name], rtol=1e-13, atol=0, err_msg=name)
    assert a.observations.in_time_order() == b.observations.in_time_order()
    np.testing.assert_array_equal(united(a.gti), united(b.gti))


def assert_same_bits(a: Partial, b: Partial) -> None:
    x, y = on_the_whole(a), on_the_whole(b)
    assert set(x) == set(y)
    for name in x:
        np.testing.assert_array_equal(x[name].view(np.uint8), y[name].view(np.uint8), err_msg=name)


class TestLaws:
    @quick
    @given(several, st.data())
    def test_any_order_and_grouping_gives_the_same(self, operands, data):
        partials = [lift(d, WHOLE) for d in operands]
        shuffled = data.draw(st.permutations(partials))
        cut = data.draw(st.integers(0, len(partials)))
        groups = [g for g in (shuffled[:cut], shuffled[cut:]) if g]
        assert_close(combine(partials), combine([combine(g) for g in groups]))

    @quick
    @given(several)
    def test_the_same_grouping_gives_the_same_bits(self, operands):
        one = combine([lift(d, WHOLE) for d in operands])
        two = combine([lift(d, WHOLE) for d in operands])
        assert_same_bits(one, two)
        # and does not depend on how much of the map was reserved for it
        wide = Accumulator(WHOLE, WHOLE.whole_box)
        for d in operands:
            wide.add(d)
        assert_same_bits(one, wide.partial())

    @quick
    @given(several)
    def test_stack_is_lift_combine_finish(self, operands):
        by_steps = finish(combine([lift(d, WHOLE) for d in operands]), "stacked")
        assert stack(iter(operands), "stacked", WHOLE).data.identical(by_steps.data)

    @quick
    @given(datasets(WHOLE))
    def test_nothing_is_the_identity(self, dataset):
        partial, nothing = lift(dataset, WHOLE), Partial(WHOLE)
        for sum_ in (combine([nothing, partial]), combine([partial, nothing]), combine([partial])):
            assert_same_bits(sum_, partial)
            assert sum_.meta == partial.meta
        assert combine([nothing, nothing]).box is None

    @quick
    @given(datasets(WHOLE), datasets(WHOLE))
    def test_operands_stay_as_they_are(self, one, two):
        partials = [lift(one, WHOLE), lift(two, WHOLE)]
        before = [on_the_whole(p) for p in partials]
        combine(partials)
        for p, b in zip(partials, before, strict=True):
            for name, values in on_the_whole(p).items():
                np.testing.assert_array_equal(values, b[name])

    @quick
    @given(datasets(WHOLE), st.integers(0, 1000))
    def test_a_dataset_without_a_safe_bin_adds_nothing_but_is_listed(self, dataset, seed):
        masked = random_dataset(WHOLE, seed, safe=0.0)
        alone, both = lift(dataset, WHOLE), combine([lift(masked, WHOLE), lift(dataset, WHOLE)])
        assert_same_bits(alone, both)
        np.testing.assert_array_equal(alone.gti, both.gti)
        assert alone.meta == both.meta
        assert len(both.observations) == 2
        assert not both.observations["used"][0]
        assert finish(both).livetime == finish(alone).livetime


class TestSums:
    """Against plain float64 numpy on the whole map."""

    @quick
    @given(several)
    def test_maps(self, operands):
        expected = {n: np.zeros(WHOLE.shapes[n]) for n in MAPS}
        for d in operands:
            box, mask = d.geometry.box_in(WHOLE), d.array("mask_safe")
            for name in ("counts", "background"):
                expected[name][box.of(name)] += d.array(name).astype(float) * mask
            expected["exposure"][box.of("exposure")] += d.array("exposure").astype(float) * mask.any(axis=0)
            expected["mask_safe"][box.of("mask_safe")] += mask
        stacked, sums = stack(operands, geometry=WHOLE), combine([lift(d, WHOLE) for d in operands])
        found = on_the_whole(sums)
        np.testing.assert_array_equal(found["counts"], expected["counts"])
        np.testing.assert_array_equal(found["mask_safe"], expected["mask_safe"] > 0)
        for name in ("background", "exposure"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-13)
            np.testing.assert_array_equal(stacked.array(name), found[name].astype("float32"))

    @quick
    @given(several)
    def test_responses(self, operands):
        y, x = WHOLE.irf_centers_in_map()
        total = {n: np.zeros(WHOLE.shapes[n]) for n in ("psf", "psf_exposure", "edisp", "edisp_exposure")}
        for d in operands:
            box = d.geometry.box_in(WHOLE)
            mask = np.zeros(WHOLE.shapes["mask_safe"], dtype=bool)
            mask[box.of("mask_safe")] = d.array("mask_safe")
            w = mask[:, y, x][box.of("psf")].astype(float)
            for name in RESPONSES:
                weight = d.array(f"{name}_exposure").astype(float) * w.max(axis=0)
                total[f"{name}_exposure"][box.of(name)] += weight
                rows = w if name == "edisp" else 1.0
                total[name][box.of(name)] += d.array(name) * weight[:, None] * rows
        stacked = stack(operands, geometry=WHOLE)
        for name in RESPONSES:
            weight = total[f"{name}_exposure"][:, None]
            expected = np.where(weight > 0, total[name] / np.where(weight > 0, weight, 1.0), 0.0)
            np.testing.assert_allclose(stacked.array(name), expected, rtol=1e-6)


class TestConservation:
    @quick
    @given(several)
    def test_counts_and_background_in_are_those_out(self, operands):
        sums = combine([lift(d, WHOLE) for d in operands])
        for name, dtype in (("counts", np.int64), ("background", np.float64)):
            put_in = sum(d.array(name)[d.array("mask_safe")].sum(dtype=dtype) for d in operands)
            assert sums.sums[name].sum() == pytest.approx(put_in, rel=1e-12)

    @quick
    @given(st.lists(datasets(binsz_irf=0.5), min_size=1, max_size=4), st.integers(0, 100))
    def test_predicted_counts_in_are_those_out(self, operands, seed):
        """With a response pixel a map pixel: a flux folded by each run's safe part adds up to the stack's."""
        parent = operands[0].geometry.parent
        flux = np.random.default_rng(seed).random((4, 1, 1, 1))
        put_in = np.zeros(parent.shapes["counts"])
        for d in operands:
            npred = (d.array("edisp") * d.array("edisp_exposure")[:, None].astype(float) * flux).sum(axis=0)
            box, mask = d.geometry.box_in(parent), np.zeros(parent.shapes["mask_safe"], dtype=bool)
            mask[box.of("mask_safe")] = d.array(
                "mask_safe"
            )  # a small cutout keeps more pixels of the responses
            put_in[box.of("edisp")] += npred * mask[box.of("edisp")]
        stacked = stack(operands, geometry=parent)
        weight = stacked.array("edisp_exposure").astype(float)[:, None]
        np.testing.assert_allclose((stacked.array("edisp") * weight * flux).sum(axis=0), put_in, rtol=1e-6)

    @quick
    @given(st.lists(datasets(), min_size=1, max_size=4))
    def test_an_average_lies_between_its_terms(self, operands):
        stacked = stack(operands, geometry=operands[0].geometry.parent)
        assert stacked.array("psf").max() <= max(d.array("psf").max() for d in operands) * (1 + 1e-6)


def test_migra_dispersion_is_weighted_without_regard_to_reconstructed_energy():
    parent = whole_geometry(migra=True)
    one, two = random_dataset(parent, 1), random_dataset(parent, 2)
    stacked = stack([one, two])
    y, x = parent.irf_centers_in_map()
    w = [d.array("mask_safe").any(axis=0)[y, x] * d.array("edisp_exposure").astype(float) for d in (one, two)]
    expected = (one.array("edisp") * w[0][:, None] + two.array("edisp") * w[1][:, None]) / (w[0] + w[1])[
        :, None
    ]
    np.testing.assert_allclose(stacked.array("edisp"), expected, rtol=1e-6)


def test_a_response_pixel_outside_the_map_weighs_nothing():
    # A cutout of one map pixel keeps three response pixels a side; only the one over the pixel can count.
    part = part_of(WHOLE, 8.0, 6.0, 0.5)
    stacked = stack([random_dataset(part, 1, safe=1.0)], geometry=WHOLE)
    assert np.count_nonzero(stacked.array("psf_exposure").any(axis=0)) <= 1


def test_the_background_is_that_with_its_model_and_its_norm_is_listed():
    dataset = random_dataset(WHOLE, 1, safe=1.0)
    model = FoVBackgroundModel(dataset_name=dataset.name)
    model.spectral_model.norm.value, model.spectral_model.tilt.value = 1.7, 0.2
    dataset.models = model
    stacked = stack([dataset, random_dataset(WHOLE, 2, safe=0.0)])
    np.testing.assert_allclose(stacked.array("background"), dataset.npred_background(), rtol=1e-7)
    assert stacked.models is None
    used = stacked.observations["used"]
    assert stacked.observations["background_norm"][used] == 1.7
    assert stacked.observations["background_tilt"][used] == 0.2
    assert np.isnan(stacked.observations["background_norm"][~used])


def test_mask_fit_is_dropped():
    fit = np.ones(WHOLE.shapes["mask_fit"], dtype=bool)
    assert stack([random_dataset(WHOLE, 1).with_arrays(mask_fit=fit)]).mask_fit is None


def test_meta_is_what_all_agree_on():
    stacked = stack([random_dataset(WHOLE, 1), random_dataset(WHOLE, 2)])
    assert stacked.meta == {"instrument": "TEST"}


class TestTimes:
    @pytest.mark.parametrize(
        ("intervals", "expected"),
        [
            ([], []),
            ([(0, 1), (2, 3)], [(0, 1), (2, 3)]),
            ([(2, 3), (0, 1)], [(0, 1), (2, 3)]),
            ([(0, 1), (1, 2)], [(0, 2)]),
            ([(0, 5), (1, 2), (4, 6)], [(0, 6)]),
            ([(0, 5), (1, 2), (3, 4), (5.5, 6)], [(0, 5), (5.5, 6)]),
            ([(0, 1), (0, 1)], [(0, 1)]),
        ],
    )
    def test_intervals_that_overlap_or_touch_are_merged(self, intervals, expected):
        start, stop = united(np.array(intervals, dtype=float).reshape(-1, 2))
        assert list(zip(start.tolist(), stop.tolist(), strict=True)) == expected

    def test_datasets_with_different_reference_times(self):
        dataset = random_dataset(WHOLE, 1)
        gti = dataset.gti
        later = GTI(
            gti.start - 1000.0,
            gti.stop - 1000.0,
            type(REFERENCE)(51910.0, REFERENCE.mjd_fraction + 1000 / 86400),
        )
        rows = dataset.observations.shifted(-1000.0)
        moved = MapDataset.from_arrays(
            WHOLE, "moved", gti=later, observations=rows, mask_safe=dataset.array("mask_safe")
        )
        one, two = (stack([d.with_arrays(**NO_ARRAYS)]) for d in (dataset, moved))
        np.testing.assert_allclose(one.array("gti_start"), two.array("gti_start"), rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.array("tstart"), two.array("tstart"), rtol=0, atol=1e-6)
        assert two.time_reference == "2000-01-01T00:00:00.000000000"
        assert one.gti.time_start[0].mjd == pytest.approx(gti.time_start[0].mjd, abs=1e-11)

    def test_rows_are_in_time_order_whatever_the_order_of_operands(self):
        operands = [random_dataset(WHOLE, n) for n in range(5)]
        forward, backward = stack(operands), stack(operands[::-1])
        assert forward.observations == backward.observations
        assert (np.diff(forward.observations["tstart"]) >= 0).all()
        assert forward.livetime == backward.livetime == pytest.approx(sum(d.livetime for d in operands))


NO_ARRAYS = dict.fromkeys(
    ("counts", "background", "exposure", "psf", "psf_exposure", "edisp", "edisp_exposure")
)


class TestFaults:
    def test_another_geometry_is_named(self):
        with pytest.raises(GeometryError, match="CRVAL1"):
            stack([random_dataset(WHOLE, 1), random_dataset(whole_geometry(lon=1.0), 2)])

    def test_a_dataset_that_sticks_out_is_refused(self):
        part = part_of(WHOLE, 8.0, 6.0, 2.0)
        alone = MapDataset.from_xarray(random_dataset(part, 1).data)  # read from a file it knows no parent
        with pytest.raises(GeometryError, match="columns"):
            stack([alone, random_dataset(WHOLE, 2)])

    def test_a_file_knows_no_parent_but_its_place_is_found(self):
        part = part_of(WHOLE, 5.0, 6.0, 3.0)
        alone = MapDataset.from_xarray(random_dataset(part, 1).data)
        assert_same_bits(lift(alone, WHOLE), lift(random_dataset(part, 1), WHOLE))

    def test_datasets_with_different_quantities(self):
        with pytest.raises(StackingError, match=r"obs-2.*has no psf, psf_exposure"):
            stack(
                [random_dataset(WHOLE, 1), random_dataset(WHOLE, 2).with_arrays(psf=None, psf_exposure=None)]
            )
        with pytest.raises(StackingError, match=r"obs-2.*has background, which the others lack"):
            stack([random_dataset(WHOLE, 1).with_arrays(background=None), random_dataset(WHOLE, 2)])

    def test_nothing_to_stack(self):
        with pytest.raises(StackingError, match="no datasets"):
            stack([])
        with pytest.raises(StackingError, match="no partial sums"):
            combine([])

    def test_no_safe_mask(self):
        with pytest.raises(StackingError, match="mask_safe"):
            lift(random_dataset(WHOLE, 1).with_arrays(mask_safe=None), WHOLE)

    def test_partials_of_different_parents(self):
        part = part_of(WHOLE, 8.0, 6.0, 2.0)
        dataset = random_dataset(part, 1)
        with pytest.raises(StackingError, match="Lift all datasets"):
            combine([lift(dataset, WHOLE), lift(dataset, part)])

    @pytest.mark.parametrize(
        "name", ["background", "exposure", "psf", "psf_exposure", "edisp", "edisp_exposure"]
    )
    def test_values_that_are_not_finite_count_only_where_it_is_safe(self, name):
        good = random_dataset(WHOLE, 1, safe=1.0)
        mask = good.array("mask_safe").copy()
        mask[:, :4] = False
        values = good.array(name).copy()
        values[..., :1, :] = np.nan
        bad = good.with_arrays(**{name: values, "mask_safe": mask})
        expected = stack([good.with_arrays(mask_safe=mask)])
        np.testing.assert_array_equal(stack([bad]).array(name), expected.array(name))
        with pytest.raises(StackingError, match=rf"obs-1, {name}: \d+ values that are not finite"):
            stack([good.with_arrays(**{name: values})])

    def test_more_counts_than_a_bin_can_hold(self):
        counts = np.full(WHOLE.shapes["counts"], 2**31 - 1)
        with pytest.raises(StackingError, match="32 bit"):
            stack([random_dataset(WHOLE, n, safe=1.0, counts=counts) for n in (1, 2)])


def test_a_partial_covers_what_is_safe_and_no_more():
    mask = np.zeros(WHOLE.shapes["mask_safe"], dtype=bool)
    mask[1, 3:6, 4:9] = True
    partial = lift(random_dataset(WHOLE, 1, mask_safe=mask), WHOLE)
    assert partial.box == Box((3, 6), (4, 9), (1, 3), (2, 4))
    assert partial.sums["counts"].shape == (3, 3, 5)
    assert partial.nbytes == sum(a.nbytes for a in partial.sums.values())


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
def test_a_partial_is_trimmed_to_what_was_added_however_much_was_reserved(proj):
    whole = whole_geometry(proj=proj)
    operands = [
        random_dataset(part_of(whole, x, y, 2.0), n) for n, (x, y) in enumerate([(3, 3), (5, 4), (12, 9)])
    ]
    grown, wide = Accumulator(whole), Accumulator(whole, whole.whole_box)
    for d in operands:
        grown.add(d)
        wide.add(d)
    assert grown.partial().box == wide.partial().box == Box.union([lift(d, whole).box for d in operands])
    assert_same_bits(grown.partial(), wide.partial())
    assert combine([grown.partial(), lift(operands[0], whole)]).box == grown.partial().box


def test_partials_survive_xarray():
    partial = combine([lift(random_dataset(part_of(WHOLE, 4.0, 5.0, 3.0), n), WHOLE) for n in range(3)])
    back = Partial.from_xarray(partial.to_xarray())
    assert_same_bits(partial, back)
    assert (back.parent, back.box, back.meta, back.observations) == (
        partial.parent, partial.box, partial.meta, partial.observations,
    )  # fmt: skip
    assert finish(back).data.identical(finish(partial).data)
