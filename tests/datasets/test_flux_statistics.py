"""The statistics of flux points: Gammapy's numbers, derivatives, and where ours differ from Gammapy's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gammaflow.datasets import FluxPointsDataset
from gammaflow.datasets.flux_statistics import STAT_TYPES, Profile
from gammaflow.errors import DataError, SchemaError, UnsupportedError
from gammaflow.modeling import PowerLawSpectralModel, SkyModel

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "flux_points.json").read_text())
TABLE = {name: np.array(values, dtype=float) for name, values in REFERENCE["table"].items()}


def sed(stat_type="chi2", **changed) -> FluxPointsDataset:
    """The points of the reference."""
    ref = TABLE["ref_dnde"]
    columns = {
        f"dnde{end}": TABLE[f"norm{end}"] * ref for end in ("_err", "_errn", "_errp", "_ul")
    } | {
        "is_ul": np.array(REFERENCE["is_ul"]), "dnde_ref": ref, "norm_scan": np.array(REFERENCE["norm_scan"]),
        "stat_scan": np.array(REFERENCE["stat_scan"]), "stat": TABLE["stat"],
        "energy_min": TABLE["e_min"], "energy_max": TABLE["e_max"],
    }  # fmt: skip
    columns |= {"dnde": TABLE["norm"] * ref, **changed}
    return FluxPointsDataset.from_arrays("sed", TABLE["e_ref"], stat_type=stat_type, **columns)


def power_law(amplitude, index) -> SkyModel:
    return SkyModel(
        PowerLawSpectralModel(index=index, amplitude=f"{amplitude} cm-2 s-1 TeV-1", reference="1 TeV"),
        name="src",
    )


@pytest.mark.parametrize("case", range(len(REFERENCE["models"])))
@pytest.mark.parametrize("stat_type", ["chi2", "distrib", "profile"])
def test_each_point_has_the_statistic_of_gammapy(stat_type, case):
    dataset, expected = sed(stat_type), REFERENCE["statistics"][stat_type][case]
    dataset.models = power_law(*REFERENCE["models"][case])
    assert dataset.stat_sum() == pytest.approx(expected["sum"], rel=1e-9)
    used = dataset.mask.values
    np.testing.assert_allclose(
        dataset.stat_array().values[used], np.array(expected["array"])[used], rtol=1e-9
    )
    assert (~used).sum() == (1 if stat_type == "chi2" else 0)


@pytest.mark.parametrize("stat_type", STAT_TYPES)
@pytest.mark.parametrize("factor", [0.01, 0.4, 1.0001, 2.31, 30.0])
def test_scores_and_curvatures_are_derivatives(stat_type, factor):
    statistic = sed(stat_type).statistic
    flux = TABLE["norm"] * TABLE["ref_dnde"] * factor
    step = 1e-6 * flux
    value = (statistic.value(flux + step) - statistic.value(flux - step)) / (2 * step)
    np.testing.assert_allclose(statistic.score(flux), value, rtol=1e-5, atol=1e-6 * np.abs(value).max())
    second = (statistic.score(flux + step) - statistic.score(flux - step)) / (2 * step)
    np.testing.assert_allclose(statistic.curvature(flux), second, rtol=1e-5, atol=1e-6 * np.abs(second).max())


class TestLimits:
    """A limit says that the flux is below: a model far above must pay, ever more."""

    def statistic(self, stat_type, factor):
        dataset = sed(stat_type)
        return dataset.statistic.value(TABLE["norm_ul"] * TABLE["ref_dnde"] * factor)[-1]

    def test_in_chi2_they_take_no_part(self):
        assert self.statistic("chi2", 100.0) == 0.0

    def test_distrib_saturates_as_in_gammapy(self):
        assert 5.0 < self.statistic("distrib", 10.0) < 5.1
        assert self.statistic("distrib", 100.0) == pytest.approx(self.statistic("distrib", 10.0), abs=1e-6)

    def test_censored_grows_as_a_chi2(self):
        """The negative logarithm of equation C7 of Mohanty et al. (2013) by numerical integration."""
        limit = 1.7
        error = (limit - 0.4) / 2  # the limit is one of two sigma above the flux
        x = np.linspace(-20, limit, 400_001)

        def probability(mean):
            return np.trapezoid(np.exp(-0.5 * ((x - mean) / error) ** 2), x)

        for factor in (0.2, 1.0, 1.5, 3.0):
            expected = -2 * np.log(probability(factor * limit) / probability(0.0))
            assert self.statistic("censored", factor) == pytest.approx(expected, rel=1e-6)
        far = [self.statistic("censored", f) for f in (100.0, 200.0)]
        assert far[1] / far[0] == pytest.approx(4.0, rel=0.02)
        assert self.statistic("censored", 0.0) == 0.0

    def test_a_limit_without_a_flux_is_that_of_a_measurement_of_nothing(self):
        """Its width is the limit over the number of sigma that it is of."""
        flux = TABLE["norm"] * TABLE["ref_dnde"]
        at = np.full(6, 1.5 * TABLE["norm_ul"][-1] * TABLE["ref_dnde"][-1])
        values = []
        for n_sigma in (2.0, 3.0):
            meta = {"n_sigma_ul": n_sigma}
            found = [
                sed("censored", dnde=np.append(flux[:-1], d), meta=meta).statistic.value(at)[-1]
                for d in (np.nan, 0.0)
            ]
            assert found[0] == found[1]
            values.append(found[0])
        assert 0 < values[0] < values[1]

    def test_limits_are_told_by_what_a_point_has(self):
        columns = {"is_ul": None, "dnde_errn": None, "dnde_errp": None}
        assert not sed(**columns).is_ul.any()  # all are measured, and have a limit besides
        error = np.where(np.arange(6) == 2, np.nan, TABLE["norm_err"] * TABLE["ref_dnde"])
        assert np.flatnonzero(sed(**columns, dnde_err=error).is_ul).tolist() == [2]


class TestProfile:
    def profile(self, norm, delta, reference=1.0):
        return Profile(
            np.array([norm]), np.array([delta], dtype=float), np.array([reference]), np.array([True])
        )

    def test_a_parabola_is_met_exactly_inside_and_outside(self):
        norm = np.array([0.2, 0.5, 1.0, 2.0, 5.0])
        profile = self.profile(norm, ((norm - 0.9) / 0.3) ** 2, 1e-12)
        for x in (-1.0, 0.1, 0.2, 0.9, 3.3, 5.0, 40.0):
            assert profile.value(np.array([x * 1e-12]))[0] == pytest.approx(((x - 0.9) / 0.3) ** 2, abs=1e-9)

    def test_outside_it_never_falls_without_end(self):
        """A scan that flattens: its last parabola opens downwards, and Gammapy's goes to minus infinity."""
        norm = np.linspace(0.2, 5.0, 11)
        delta = 10 * np.log1p(norm)
        profile = self.profile(norm, delta)
        values = profile.value(np.array([100.0]))
        assert values[0] > delta[-1]
        steps = np.array([profile.value(np.array([x]))[0] for x in np.linspace(-5, 50, 300)])
        assert np.isfinite(steps).all()
        assert (np.diff(steps[np.linspace(-5, 50, 300) > 5]) > 0).all()
        falling = self.profile(norm, -delta)  # the best norm lies beyond the scan, but not at infinity
        assert falling.value(np.array([6.0]))[0] < -delta[-1]
        assert falling.value(np.array([1000.0]))[0] > 0

    @pytest.mark.parametrize(("n", "expected"), [(2, 0.25), (3, 0.0625)])
    def test_few_norms_are_joined_by_what_they_allow(self, n, expected):
        norm = np.array([0.0, 0.5, 1.0])[[0, 2] if n == 2 else slice(None)]
        profile = self.profile(norm, norm**2)
        assert profile.value(np.array([0.25]))[0] == pytest.approx(expected)

    def test_a_point_whose_scan_is_incomplete_takes_no_part(self):
        scan = np.array(REFERENCE["stat_scan"])
        scan[3, 5] = np.nan
        dataset = sed("profile", stat_scan=scan)
        assert np.flatnonzero(~dataset.mask.values).tolist() == [3]
        dataset.models = power_law(3e-11, 2.4)
        assert dataset.stat_array()[3] == 0.0
        assert np.isfinite(dataset.stat_sum())

    def test_scans_over_their_own_norms(self):
        """Each row has its norms; the same scan on other norms and another reference is the same statistic."""
        whole = sed("profile")
        factor = np.linspace(0.5, 2.0, 6)
        other = sed(
            "profile", dnde_ref=TABLE["ref_dnde"] * factor,
            norm_scan=np.array(REFERENCE["norm_scan"])[None] / factor[:, None],
        )  # fmt: skip
        flux = TABLE["ref_dnde"] * 1.7
        np.testing.assert_allclose(other.statistic.value(flux), whole.statistic.value(flux), rtol=1e-9)

    def test_it_is_enough_without_errors(self):
        without = dict.fromkeys(("dnde_err", "dnde_errn", "dnde_errp", "dnde_ul", "is_ul"))
        dataset = sed("profile", **without)
        dataset.models = power_law(*REFERENCE["models"][0])
        assert dataset.stat_sum() == pytest.approx(REFERENCE["statistics"]["profile"][0]["sum"], rel=1e-9)

    @pytest.mark.parametrize(
        ("changed", "error", "said"),
        [
            (
                {"stat_scan": None, "norm_scan": None, "stat": None},
                DataError,
                "no likelihood profile: norm_scan",
            ),
            ({"dnde_ref": None}, SchemaError, "needs 'dnde_ref'"),
            ({"norm_scan": np.linspace(0.2, 5, 10)}, SchemaError, "norm_scan: shape"),
            ({"norm_scan": np.linspace(5, 0.2, 11)}, SchemaError, "do not increase"),
        ],
    )
    def test_what_cannot_be_used_is_refused(self, changed, error, said):
        with pytest.raises(error, match=said):
            sed("profile", **changed)


def test_an_unknown_statistic_is_refused():
    with pytest.raises(UnsupportedError, match=r"'cash'.*Known are chi2, distrib"):
        sed("cash")


def test_the_statistic_is_kept_on_copies_slices_and_on_disk(tmp_path):
    dataset = sed("profile")
    assert dataset.copy("other").stat_type == "profile"
    assert dataset.slice_by_energy(1.0, 10.0).stat_type == "profile"
    dataset.write(tmp_path / "sed.zarr")
    back = FluxPointsDataset.read(tmp_path / "sed.zarr")
    assert back.data.identical(dataset.data)
    dataset.stat_type = "chi2"
    assert back.stat_type == "profile"
