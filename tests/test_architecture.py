"""The house rules that can be read off the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "gammaflow"

FLOORS = [
    {"stats", "errors"},
    {"maps"},
    {"config"},  # builds geometries from what the user wrote
    {"irf", "modeling"},
    {"data"},
    {"datasets"},
    {"likelihood", "makers", "io"},
    {"fit"},
    {"dag", "estimators"},
    {"analysis", "plot"},
    {"report"},
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS, start=1) for room in rooms}
KNOWS_DASK = {"dag", "analysis", "cli"}
FACADE = "__init__"  # gammaflow/__init__.py names the public API of every floor


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(module: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything a module imports, inside functions too."""
    package = ("gammaflow", *module.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join((*base, *([node.module] if node.module else [])))
            if name == "gammaflow":
                yield from ((node.lineno, f"gammaflow.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, name


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) != FACADE)


def test_every_room_has_a_floor() -> None:
    assert {room_of(module) for module in MODULES} <= set(FLOOR_OF)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_down_the_floors(module: Path) -> None:
    here = room_of(module)
    for line, name in imported_modules(module):
        parts = name.split(".")
        assert parts[0] != "gammapy", f"{module}:{line} imports gammapy"
        if parts[0] in {"dask", "distributed"}:
            assert here in KNOWS_DASK, f"{module}:{line} imports {name} below the floor of the DAG"
        if parts[0] == "gammaflow" and len(parts) > 1 and parts[1] != here:
            assert FLOOR_OF[parts[1]] < FLOOR_OF[here], (
                f"{module}:{line}: {here} imports {name}, not a floor below"
            )


@pytest.mark.parametrize("folder", sorted({module.parent for module in MODULES}), ids=str)
def test_no_room_without_content_or_with_a_junk_drawer(folder: Path) -> None:
    names = {path.name for path in folder.glob("*.py")}
    assert not names & {"utils.py", "helpers.py", "core.py", "common.py", "misc.py"}
    assert folder == PACKAGE or names - {"__init__.py"}, f"{folder} is empty"
