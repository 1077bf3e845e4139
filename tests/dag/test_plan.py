"""Plans: keys that follow from content, what a folder makes of them, and drawings."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gammaflow.dag.diff import Action, compare
from gammaflow.dag.drawing import to_dot, to_svg
from gammaflow.dag.plan import Plan, make_plan
from gammaflow.dag.receipts import FailureRecord, Receipt
from gammaflow.dag.run_folder import Inventory
from gammaflow.data import HduLocation, ObservationFiles
from gammaflow.errors import ConfigError
from tests.dag.fake_tasks import observations


def done(plan: Plan) -> Inventory:
    """A folder in which everything of a plan is done."""
    nodes = {(node.stage, node.name): node for node in plan.nodes()}
    return Inventory(
        {
            place: Receipt(node.stage, node.name, node.key, ingredients=getattr(node, "ingredients", {}))
            for place, node in nodes.items()
        }
    )


def simple_plan(numbers=range(1, 11), fan_in=3, **options) -> Plan:
    return make_plan(observations(list(numbers)), fan_in=fan_in, **({"ingredients": {"mask": "a"}} | options))


def files_on_disk(folder: Path, obs_id: int) -> ObservationFiles:
    path = folder / f"events_{obs_id}.fits"
    path.write_bytes(b"x" * obs_id)
    hdus = tuple(HduLocation(kind, kind, str(path), kind.upper(), path.name) for kind in ("events", "gti"))
    return ObservationFiles(obs_id, hdus)


def test_the_order_of_observations_and_ingredients_does_not_matter():
    numbers = [5, 3, 9, 1]
    first = make_plan(observations(numbers), ingredients={"a": 1, "b": {"x": 1, "y": 2}})
    second = make_plan(observations(sorted(numbers)), ingredients={"b": {"y": 2, "x": 1}, "a": 1})
    assert first.to_json() == second.to_json()


def test_every_ingredient_changes_every_key():
    ingredients = {"geometry": {"binsize": 0.02}, "mask": ["aeff-default"], "version": 1}
    changes = [{"geometry": {"binsize": 0.03}}, {"mask": []}, {"version": 2}, {"new": None}]
    plans = [make_plan(observations([1, 2]), ingredients=ingredients | change) for change in ({}, *changes)]
    for first, second in itertools.combinations(plans, 2):
        keys = [{node.key for node in plan.nodes()} for plan in (first, second)]
        assert not keys[0] & keys[1]


@pytest.mark.parametrize("change", ["content", "touch", "other hdu", "another file", "gone"])
def test_changed_files_change_the_keys_of_their_observation_alone(tmp_path, change):
    before = [files_on_disk(tmp_path, 1), files_on_disk(tmp_path, 2)]
    plan = make_plan(before, ingredients={})
    path = tmp_path / "events_1.fits"
    after = list(before)
    match change:
        case "content":
            path.write_bytes(b"longer")
        case "touch":
            path.touch()
        case "other hdu":
            after[0] = ObservationFiles(1, before[0].hdus[:1])
        case "another file":
            after[0] = ObservationFiles(1, (*before[0].hdus, files_on_disk(tmp_path, 3).hdus[0]))
        case "gone":
            path.unlink()
    changed = make_plan(after, ingredients={})
    first, second = changed.reductions
    assert first.key != plan.reductions[0].key
    assert second.key == plan.reductions[1].key
    diff = compare(changed, done(plan))
    assert [(v.action, v.reason) for v in diff.steps[:2]] == [
        (Action.REDO, "the files changed"),
        (Action.REUSE, ""),
    ]


def test_a_data_store_that_has_moved_keeps_its_keys(tmp_path):
    (tmp_path / "a").mkdir()
    before = files_on_disk(tmp_path / "a", 1)
    plan = make_plan([before], ingredients={})
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copy2)
    path = tmp_path / "b" / "events_1.fits"
    assert os.stat(path).st_mtime_ns == os.stat(tmp_path / "a" / "events_1.fits").st_mtime_ns
    moved = tuple(HduLocation(h.hdu_type, h.hdu_class, str(path), h.hdu_name, h.name) for h in before.hdus)
    assert make_plan([ObservationFiles(1, moved)], ingredients={}).to_json() == plan.to_json()


def test_a_missing_file_that_arrives_changes_the_key(tmp_path):
    files = files_on_disk(tmp_path, 1)
    (tmp_path / "events_1.fits").unlink()
    missing = make_plan([files], ingredients={}).reductions[0].key
    assert make_plan([files_on_disk(tmp_path, 1)], ingredients={}).reductions[0].key != missing


@pytest.mark.parametrize(
    ("numbers", "message"), [([], "no observation is selected"), ([3, 3], "selected twice")]
)
def test_what_makes_no_plan_is_refused(numbers, message):
    with pytest.raises(ConfigError, match=message):
        simple_plan(numbers)


def test_a_fresh_folder_runs_everything_and_a_finished_one_nothing():
    plan = simple_plan()
    assert {v.action for v in compare(plan, Inventory()).steps} == {Action.RUN}
    assert {v.action for v in compare(plan, done(plan)).steps} == {Action.REUSE}


def test_steps_come_children_first():
    plan = simple_plan()
    seen: set[str] = set()
    for verdict in compare(plan, Inventory()).steps:
        assert all(f"{operand.stage}/{operand.name}" in seen for operand in verdict.node.needs)
        seen.add(f"{verdict.node.stage}/{verdict.node.name}")


def test_the_reason_names_what_changed():
    old = simple_plan(ingredients={"mask": "a", "geometry": 1})
    new = simple_plan(ingredients={"mask": "b", "geometry": 1})
    diff = compare(new, done(old))
    assert {v.reason for v in diff.steps if v.node.stage == "reduce"} == {"mask changed"}
    assert [v.reason for v in diff.steps if v.node.stage == "finish"] == ["an observation changed"]
    assert diff.count("reduce", Action.REDO) == 10
    assert "10 x mask changed" in diff.summary()


def test_an_added_observation_is_told():
    diff = compare(simple_plan(range(1, 12)), done(simple_plan()))
    assert [v.node.name for v in diff.to_do("reduce")] == ["11"]
    assert "which observations" in diff.steps[-1].reason
    assert len(diff.to_do("stack")) < 4


def test_partial_sums_below_a_finished_stack_are_not_needed():
    plan = simple_plan()
    inventory = done(plan)
    kept = {place: receipt for place, receipt in inventory.receipts.items() if place[0] != "stack"}
    diff = compare(plan, Inventory(kept))
    assert not diff.to_do("stack")
    assert {v.reason for v in diff.steps if v.node.stage == "stack"} == {"not needed"}
    without_root = {place: receipt for place, receipt in kept.items() if place[0] != "finish"}
    diff = compare(plan, Inventory(without_root))
    assert len(diff.to_do("stack")) == len(plan.stacks[0].partials) > 0


def test_a_failure_is_tried_again_and_a_broken_receipt_is_redone():
    plan = simple_plan()
    failures = {
        ("reduce", "3"): FailureRecord("reduce", "3", plan.reductions[2].key, "CorruptFileError", "bad")
    }
    diff = compare(plan, Inventory({}, {("reduce", "4"): "half of it is there"}, failures))
    assert (diff.steps[2].action, diff.steps[2].reason) == (Action.RUN, "failed before (CorruptFileError)")
    assert (diff.steps[3].action, diff.steps[3].reason) == (Action.REDO, "half of it is there")


def test_groups_are_stacked_apart():
    plan = simple_plan(groups={n: "north" if n % 2 else "south" for n in range(1, 11)})
    assert [(stack.root.name, stack.root.observations) for stack in plan.stacks] == [
        ("north", 5),
        ("south", 5),
    ]
    whole = simple_plan(groups=dict.fromkeys(range(1, 11), "north"))
    assert plan.stacks[0].root.key != whole.stacks[0].root.key


def test_left_out_observations_are_planned_but_not_stacked():
    plan = simple_plan().without([4, 5])
    assert len(plan.reductions) == 10
    assert plan.stacks[0].root.observations == 8
    assert plan.stacks == simple_plan([n for n in range(1, 11) if n not in (4, 5)]).stacks
    assert json.loads(plan.to_json())["left_out"] == [4, 5]


def test_the_plan_as_json_names_every_node_and_its_needs():
    plan = simple_plan()
    content = json.loads(plan.to_json())
    assert [node["key"] for node in content["nodes"]] == [node.key for node in plan.nodes()]
    names = {f"{node['stage']}/{node['name']}" for node in content["nodes"]}
    assert all(need in names for node in content["nodes"] for need in node.get("needs", ()))


@pytest.mark.parametrize("count", [1, 10, 300])
@pytest.mark.parametrize("stacked", [True, False])
def test_drawings_show_every_node_or_how_many(count, stacked):
    plan = simple_plan(range(1, count + 1), fan_in=8, stacked=stacked)
    diff = compare(plan, Inventory())
    root = ET.fromstring(to_svg(diff))
    boxes = list(root.iter("{http://www.w3.org/2000/svg}rect"))
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    dot = to_dot(diff)
    assert dot.count("{") == dot.count("}") == 1
    if count <= 60:
        assert {f"observation {n}" for n in range(1, count + 1)} <= texts
        assert all(f'"reduce/{n}"' in dot for n in range(1, count + 1))
        edges = sum(len(node.needs) for node in plan.nodes())
        assert dot.count("->") == edges == len(list(root.iter("{http://www.w3.org/2000/svg}path")))
    else:
        assert len(boxes) < 250
    if stacked:
        assert f"{count} observations" in texts


def test_boxes_of_a_layer_do_not_overlap():
    plan = simple_plan(range(1, 51), fan_in=4)
    root = ET.fromstring(to_svg(compare(plan, Inventory())))
    rects = [
        (float(box.get("y", 0)), float(box.get("x", 0)), float(box.get("width", 0)))
        for box in root.iter("{http://www.w3.org/2000/svg}rect")
    ]
    for y in {rect[0] for rect in rects}:
        layer = sorted(rect for rect in rects if rect[0] == y)
        assert all(x1 + width <= x2 for (_, x1, width), (_, x2, _) in itertools.pairwise(layer))


def test_names_are_escaped():
    plan = simple_plan(groups=dict.fromkeys(range(1, 11), 'a<b>"c"&'))
    diff = compare(plan, Inventory())
    assert 'a<b>"c"&' in {text.text for text in ET.fromstring(to_svg(diff)).iter()}
    assert 'label="a<b>\\"c\\"&' in to_dot(diff)
