"""Every response class against the field's reference at random points, from real files and formulas."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from gammaflow.irf import Background2D, IrfAxis, PsfIrf, PSFKing, read_irf
from tests.reference import synthetic

REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "irf.json").read_text())["cases"]


def synthetic_irf(name):
    if name == "king":
        energy = IrfAxis.from_edges(synthetic.ENERGY_TRUE_EDGES, "energy_true", "log")
        offset = IrfAxis.from_nodes(synthetic.OFFSET_NODES, "offset", "lin")
        return PSFKing([energy, offset], synthetic.king_tables())
    energy = IrfAxis.from_edges(synthetic.ENERGY_EDGES, "energy", "log")
    offset = IrfAxis.from_edges(synthetic.OFFSET_EDGES, "offset", "lin")
    return Background2D([energy, offset], synthetic.background_2d_table())


def load(case, request):
    if "synthetic" in case:
        return synthetic_irf(case["synthetic"])
    path = request.getfixturevalue("gammapy_data") / case["file"]
    with fits.open(path, memmap=False) as hdus:
        return read_irf(hdus[case["hdu"]], case["class"], f"{path.name}[{case['hdu']}]")


def case_id(case):
    return f"{case['class']}-{case.get('synthetic') or Path(case['file']).parts[0]}"


@pytest.mark.parametrize("case", REFERENCE, ids=case_id)
def test_evaluate_agrees_with_the_reference(case, request):
    irf = load(case, request)
    values = irf.evaluate(**{name: np.array(x) for name, x in case["points"].items()})
    expected = np.array(case["values"])
    assert (expected > 0).sum() > 5
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9 * expected.max())
    np.testing.assert_array_equal(values == 0, expected == 0)


@pytest.mark.parametrize("case", [c for c in REFERENCE if c["class"].startswith("psf")], ids=case_id)
def test_containment_agrees_with_the_reference(case, request):
    irf = load(case, request)
    assert isinstance(irf, PsfIrf)
    points = {name: np.array(x) for name, x in case["points"].items()}
    contained = irf.containment(**points)
    # Inside the first ring of a table the reference extrapolates the sum, here it starts at zero
    first_ring = irf.axis("rad").edges[1] if case["class"] == "psf_table" else 0.0
    compared = points["rad"] > first_ring
    np.testing.assert_allclose(contained[compared], np.array(case["containment"])[compared], atol=1e-7)
    radius = irf.containment_radius(0.68, points["energy_true"], points["offset"])
    # Where the profile is flat, round-off decides which radius is the nearest: compare what it contains
    at = (points["energy_true"], points["offset"])
    expected = irf.containment(np.array(case["radius_68"]), *at)
    np.testing.assert_allclose(irf.containment(radius, *at), expected, atol=1e-9)
