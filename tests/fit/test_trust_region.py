"""The step of the trust region, against what a dense search finds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import NonlinearConstraint, minimize

from gammaflow.fit.trust_region import bounded_step, curvature, free_directions, trust_step


def quadratic(kind: str, seed: int, n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.normal(size=(n, n)))[0]
    values = {
        "convex": np.array([0.5, 1.0, 3.0, 40.0]),
        "indefinite": np.array([-2.0, -0.1, 1.0, 10.0]),
        "flat": np.array([0.0, 1.0, 2.0, 5.0]),
    }[kind]
    gradient = vectors @ np.array([0.0 if kind == "flat" else 1.0, 0.7, -2.0, 3.0])
    return gradient, (vectors * values) @ vectors.T


def model(gradient: np.ndarray, hessian: np.ndarray, step: np.ndarray) -> float:
    return float(gradient @ step + 0.5 * step @ hessian @ step)


@pytest.mark.parametrize("kind", ["convex", "indefinite", "flat"])
@pytest.mark.parametrize("radius", [0.1, 1.0, 30.0])
def test_no_point_within_the_radius_is_lower(kind: str, radius: float) -> None:
    gradient, hessian = quadratic(kind, 3)
    scale = np.array([1.0, 2.0, 0.5, 3.0])
    step = trust_step(gradient, hessian, scale, radius)
    assert np.linalg.norm(scale * step) <= radius * (1 + 1e-6)
    rng = np.random.default_rng(0)
    ball = NonlinearConstraint(lambda s: (scale * s) @ (scale * s), 0, radius**2)
    best = min(
        minimize(lambda s: model(gradient, hessian, s), rng.normal(size=4) * 0.1, constraints=[ball]).fun
        for _ in range(8)
    )
    assert model(gradient, hessian, step) <= best + 2e-3 * abs(best)


def test_the_hard_case_follows_negative_curvature_without_a_gradient() -> None:
    step = trust_step(np.array([0.0, 1.0]), np.diag([-1.0, 2.0]), np.ones(2), 2.0)
    assert np.linalg.norm(step) == pytest.approx(2.0)
    assert step[1] == pytest.approx(-1.0 / 3.0, rel=1e-6)
    assert abs(step[0]) > 1.9


def test_at_a_limit_the_hard_case_turns_inwards() -> None:
    room = np.array([[0.0, 5.0], [-5.0, 5.0]])
    for sign in (1.0, -1.0):
        hessian = np.diag([-1.0, 2.0])
        hessian[0, 1] = hessian[1, 0] = 0.1 * sign
        step = bounded_step(np.zeros(2), hessian, np.ones(2), 1.0, room, np.ones(2, dtype=bool))
        assert step[0] > 0.9


@pytest.mark.parametrize("seed", range(6))
def test_limits_are_kept_and_the_rest_is_at_its_best(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gradient, hessian = quadratic("convex", seed)
    room = np.stack([-rng.random(4), rng.random(4)], axis=1) * 0.5
    moving = np.array([True, True, True, seed % 2 == 0])
    step = bounded_step(gradient, hessian, np.ones(4), 1e6, room, moving)
    assert (step >= room[:, 0]).all()
    assert (step <= room[:, 1]).all()
    assert moving[3] or step[3] == 0
    inside = moving & (step > room[:, 0]) & (step < room[:, 1])
    np.testing.assert_allclose((gradient + hessian @ step)[inside], 0, atol=1e-9)
    box = np.where(moving[:, None], room, 0.0)
    best = minimize(lambda s: model(gradient, hessian, s), np.zeros(4), bounds=box, tol=1e-12).fun
    assert model(gradient, hessian, step) <= best + 1e-6 * abs(best)


@pytest.mark.parametrize(
    ("theta", "gradient", "free"),
    [
        (0.0, 1.0, False),
        (0.0, -1.0, True),
        (0.0, 0.0, True),
        (1.0, -1.0, False),
        (1.0, 1.0, True),
        (0.5, 9.0, True),
    ],
)
def test_the_sign_of_the_gradient_says_whether_a_limit_holds(
    theta: float, gradient: float, free: bool
) -> None:
    found = free_directions(np.array([gradient]), np.array([theta]), np.array([[0.0, 1.0]]), np.array([True]))
    assert found.tolist() == [free]


def test_curvature_leaves_out_what_nothing_is_known_about() -> None:
    hessian = np.array([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 4.0]])
    found = curvature(np.array([0.0, 0.0, 2.0]), hessian, np.ones(3), np.array([True, True, True]))
    assert found.positive
    assert found.edm == pytest.approx(0.5)
    np.testing.assert_allclose(np.abs(found.flat), [[np.sqrt(0.5), np.sqrt(0.5), 0]], atol=1e-12)
    np.testing.assert_allclose(found.inverse[2], [0, 0, 0.25], atol=1e-12)
    held = curvature(np.array([0.0, 0.0, 2.0]), hessian, np.ones(3), np.array([True, False, False]))
    assert held.edm == 0
    assert len(held.flat) == 0
    np.testing.assert_allclose(held.inverse, np.diag([0.5, 0, 0]))


def test_curvature_of_a_saddle_is_no_minimum() -> None:
    found = curvature(np.zeros(2), np.diag([-1.0, 2.0]), np.ones(2), np.ones(2, dtype=bool))
    assert not found.positive
    assert found.edm == np.inf
