"""Content keys: equal for equal content, different for different content, in every process."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

from gammaflow.dag.keys import canonical, digest, short

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


def reordered(value):
    """The same with every mapping in another order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_the_order_of_mapping_keys_does_not_matter(value):
    assert digest(reordered(value)) == digest(value)


@given(VALUES)
def test_the_text_loses_nothing(value):
    """So that different content has different text."""
    assert repr(restored(json.loads(canonical(value)))) == repr(in_order(value))


def in_order(value):
    """The value with its mappings sorted, as the text has them."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(item) for item in value] if isinstance(value, list) else value


def restored(plain):
    """The value that a parsed text stands for."""
    if isinstance(plain, dict):
        if set(plain) == {"float"}:
            return float(plain["float"])
        return {key: restored(item) for key, item in plain.items()}
    return [restored(item) for item in plain] if isinstance(plain, list) else plain


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.02 * u.deg, 72 * u.arcsec),
        (1 * u.TeV, 1000 * u.GeV),
        (u.Quantity("0.1 TeV"), u.Quantity("1e11 eV")),
        (1 * u.h, 3600 * u.s),
        ([1, 5] * u.TeV, [1e3, 5e3] * u.GeV),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({3, 1, 2}, frozenset({1, 2, 3})),
        ((1, 2), [1, 2]),
        (np.float64(0.1), 0.1),
        (np.array([1, 2]), [1, 2]),
        (Path("a/b"), "a/b"),
        (Time("2020-01-01T00:00:00", scale="utc"), Time("2020-01-01T00:00:37", scale="tai")),
    ],
)
def test_spellings_of_one_value_have_one_key(first, second):
    assert digest(first) == digest(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (0.02 * u.deg, 0.02 * u.rad),
        (1, 1.0),
        (1, "1"),
        (1, True),
        (None, "null"),
        (0.1, 0.1 + 1e-17 + 2e-17),
        (float("nan"), float("inf")),
        (float("nan"), "nan"),
        ([1, [2]], [[1], 2]),
        ({"a": {"b": 1}}, {"a": {"c": 1}}),
        ({1, 2}, [1, 2]),
        (Time("2020-01-01"), Time("2020-01-02")),
    ],
)
def test_different_values_have_different_keys(first, second):
    if first == 0.1:
        second = np.nextafter(0.1, 1.0)
    assert digest(first) != digest(second)


def test_what_has_no_stable_text_is_refused():
    with pytest.raises(TypeError, match="a object has no canonical text"):
        digest(object())
    with pytest.raises(TypeError, match="must be text"):
        digest({1: 2})


def test_dataclasses_count_by_their_fields():
    @dataclasses.dataclass(frozen=True)
    class Point:
        x: float
        y: float

    assert digest(Point(1.0, 2.0)) == digest({"x": 1.0, "y": 2.0})


def test_keys_are_the_same_in_another_interpreter_and_in_ten_years():
    value = {"binsize": 0.02, "axes": ["energy", {"n": 10}], "set": {"b", "a"}, "none": None}
    assert digest(value) == "fb19120f3930a4cec739d35c1079235c"
    code = f"from gammaflow.dag.keys import digest; print(digest({value!r}))"
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=60
    )
    assert printed.stdout.strip() == digest(value)


def test_a_short_key_is_eight_digits():
    assert short(digest(1)) == digest(1)[:8]
