"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="run every chaos test, also the slow ones")
    parser.addoption("--slow", action="store_true", help="run the tests marked slow")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run only when asked for, by name of their kind."""
    for item in items:
        if "slow" in item.keywords:
            wanted = config.getoption("--slow") or ("chaos" in item.keywords and config.getoption("--chaos"))
            if not wanted:
                item.add_marker(pytest.mark.skip(reason="slow: runs with --slow (chaos tests: --chaos)"))


def find_data() -> Path | None:
    """The public data laid out as $GAMMAPY_DATA, if it is on this machine."""
    named = os.environ.get("GAMMAPY_DATA")
    for candidate in (Path(named) if named else None, REPOSITORY.parent / "shared" / "data"):
        if candidate is not None and (candidate / "hess-dl3-dr1").is_dir():
            return candidate
    return None


@pytest.fixture(scope="session")
def gammapy_data() -> Path:
    """Folder of the public data; skips the test where there is none."""
    path = find_data()
    if path is None:
        pytest.skip("needs the public data: set GAMMAPY_DATA to the folder that holds hess-dl3-dr1")
    os.environ["GAMMAPY_DATA"] = str(path)
    return path
