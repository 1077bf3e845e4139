"""Covariance: blocks, links, and what happens when parameters change."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gammaflow.errors import ModelError
from gammaflow.modeling import Covariance, FoVBackgroundModel, Models, Parameter, SkyModel


def models() -> Models:
    return Models([SkyModel.create("pl", "point", name="a"), FoVBackgroundModel(dataset_name="d")])


def matrix(size: int, seed: int = 1) -> np.ndarray:
    half = np.random.default_rng(seed).normal(size=(size, size))
    return half @ half.T + np.eye(size)


def test_errors_and_correlation() -> None:
    pars = [Parameter("a", 1, error=2), Parameter("b", 1)]
    covariance = Covariance(pars)
    assert_allclose(covariance.data, [[4, 0], [0, 0]])
    assert_allclose(covariance.errors, [2, 0])
    assert_allclose(covariance.correlation, [[1, 0], [0, 0]])
    full = Covariance(pars, [[4, 1], [1, 9]])
    assert_allclose(full.correlation[0, 1], 1 / 6)
    assert_allclose(full.get_subcovariance(["b"]).data, [[9]])
    assert_allclose(np.asarray(full), [[4, 1], [1, 9]])


@pytest.mark.parametrize(
    ("data", "message"),
    [([[1.0]], "shape"), ([[1, 0], [np.nan, 1]], "NaN"), ([[1, 0.5], [0.1, 1]], "not symmetric")],
)
def test_a_wrong_matrix_is_refused(data: list, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Covariance([Parameter("a", 1), Parameter("b", 1)], data)


def test_setting_it_sets_errors_down_to_the_parts() -> None:
    collection = models()
    data = matrix(len(collection.parameters))
    collection.covariance = data
    assert_allclose(collection.covariance.data, data)
    assert_allclose([p.error for p in collection.parameters], np.sqrt(np.diag(data)))
    assert_allclose(collection["a"].covariance.data, data[:5, :5])
    assert_allclose(collection["a"].spectral_model.covariance.data, data[:3, :3])
    assert_allclose(collection["d-bkg"].covariance.data, data[5:, 5:])


def test_it_survives_copies_and_follows_changes() -> None:
    collection = models()
    data = matrix(len(collection.parameters))
    collection.covariance = data
    copied = collection.copy()
    assert_allclose(copied.covariance.data, data)
    # an error that is set by hand ends the correlations of its parameter, and of no other
    copied["a"].parameters["lon_0"].error = 7
    changed = copied.covariance.data
    assert changed[3, 3] == pytest.approx(49)
    assert_allclose(np.delete(changed[3], 3), 0)
    assert_allclose(changed[np.ix_([0, 1, 5], [0, 1, 5])], data[np.ix_([0, 1, 5], [0, 1, 5])])
    assert_allclose(collection.covariance.data, data)
    # a new model brings its own errors
    collection.append(SkyModel.create("pl", name="b"))
    assert_allclose(collection.covariance.data[:8, :8], data)
    assert_allclose(collection.covariance.data[8:], 0)


def test_a_block_from_a_part_is_taken_up() -> None:
    collection = models()
    collection.covariance = matrix(8)
    collection["a"].spectral_model.covariance = 9 * np.eye(3)
    assert_allclose(collection.covariance.data[:3, :3], 9 * np.eye(3))
    assert_allclose(collection.covariance.data[:3, 3:], 0)


def test_linked_parameters_have_equal_rows() -> None:
    shared = Parameter("index", 2, error=3)
    covariance = Covariance([shared, Parameter("b", 1, error=1), shared])
    assert_allclose(covariance.data, [[9, 0, 9], [0, 1, 0], [9, 0, 9]])
    covariance.set_subcovariance(Covariance([shared], [[4]]))
    assert_allclose(covariance.data, [[4, 0, 4], [0, 1, 0], [4, 0, 4]])
    stacked = Covariance.from_stack([Covariance([shared], [[4]]), Covariance([Parameter("c", 1)], [[2]])])
    assert_allclose(stacked.data, [[4, 0], [0, 2]])
