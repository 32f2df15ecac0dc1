"""Suites: what comes with Alumnus, and what is wrong with one's own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from alumnus import datasets
from alumnus.bench import suite
from alumnus.bench.plan import keys_of
from alumnus.bench.suite import (
    BUDGETS,
    VERSIONS,
    Budget,
    Task,
    load_suite,
    parse_suite,
    protocol_of,
    suite_names,
)
from alumnus.bench.tasks import check_sources
from alumnus.errors import ConfigError

TASK = {"name": "a", "data": "mnist", "task": "classification"}


def test_gvb26_has_the_26_tasks_of_four_categories() -> None:
    """Classification 12, retrieval 7, detection 3, segmentation 2, depth 2."""
    suite = load_suite("gvb26")
    assert Counter(task.task for task in suite.tasks) == {
        "classification": 12,
        "retrieval": 7,
        "detection": 3,
        "segmentation": 2,
        "depth": 2,
    }
    assert len({task.name for task in suite.tasks}) == 26
    assert suite.budget == "standard"


@pytest.mark.parametrize("name", suite_names())
def test_every_data_set_of_a_suite_is_known(name: str) -> None:
    """A suite must not ask for what `alumnus data get` cannot bring."""
    known = datasets.names()
    assert [data for task in load_suite(name).tasks for data in task.data if data not in known] == []


def test_uned8_has_one_merged_index_and_its_eight_domains() -> None:
    """The merged task is over the data of the others, so that its pictures are encoded once."""
    suite = load_suite("uned8")
    merged, *single = suite.tasks
    assert len(merged.data) == len(single) == 8
    assert {task.data for task in single} == {merged.data}
    assert {task.task for task in suite.tasks} == {"retrieval"}
    assert sorted(task.options.domains[0] for task in single if task.options.domains) == sorted(merged.data)
    check_sources(suite.tasks)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tasks": [{**TASK, "optoins": {}}]}, r"tasks\.0\.optoins: unknown setting; did you mean 'options'"),
        ({"tasks": [{**TASK, "options": {"tests": "val"}}]}, "did you mean 'test'"),
        ({"tasks": [{**TASK, "task": "classify"}]}, r"tasks\.0\.task: .*'classification'.*got 'classify'"),
        ({"tasks": [{**TASK, "name": "A b"}]}, r"tasks\.0\.name"),
        ({"tasks": [TASK, TASK]}, "two tasks are named 'a'"),
        ({"tasks": []}, "tasks"),
        ({"tasks": [{"name": "a", "task": "depth"}]}, r"tasks\.0\.data: needed, and not given"),
        ({"tasks": [TASK], "budget": "standrad"}, "did you mean 'standard'"),
    ],
)
def test_a_wrong_suite_is_told_with_its_place(values: dict[str, object], message: str) -> None:
    """And the nearest name."""
    with pytest.raises(ConfigError, match=message):
        parse_suite({"name": "mine", **values})


def test_files_that_are_no_suites(tmp_path: Path) -> None:
    """Missing, no YAML, no mapping."""
    with pytest.raises(ConfigError, match="did you mean 'uned8'"):
        load_suite("uned")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="holds list"):
        load_suite(tmp_path / "list.yaml")
    (tmp_path / "torn.yaml").write_text("{a: ")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_suite(tmp_path / "torn.yaml")
    assert suite_names() == ["gvb26", "uned8"]


def test_data_that_is_nowhere_is_named() -> None:
    """A misspelt known data set."""
    with pytest.raises(ConfigError, match="task a: there is no data 'mnsit'; did you mean 'mnist'"):
        check_sources([Task.model_validate({**TASK, "data": "mnsit"})])


def test_cells_of_a_task() -> None:
    """All labels need one seed where nothing is drawn; retrieval learns from none; a head begins at random."""

    def count(kind: str, budget: Budget) -> int:
        return len(keys_of(Task.model_validate({**TASK, "task": kind}), ["m"], (0.01, 0.1, 1.0), 3, budget))

    assert count("classification", Budget()) == 3 + 3 + 1
    assert count("retrieval", Budget()) == 1
    assert count("depth", Budget()) == 9
    assert count("depth", Budget(dense_seeds=1)) == 3


def test_a_protocol_changes_with_what_decides_numbers_and_with_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not with a name, nor with another kind's budget or version."""
    task = Task.model_validate(TASK)
    mark = protocol_of(task, Budget())
    same = [task.model_copy(update={"name": "b"}), task.model_copy(update={"category": "digits"})]
    assert {protocol_of(each, Budget(dense_steps=3, dense_seeds=2)) for each in same} == {mark}
    other = Task.model_validate({**TASK, "options": {"test": "val"}})
    assert len({mark, protocol_of(other, Budget()), protocol_of(task, BUDGETS["quick"])}) == 3
    monkeypatch.setattr(suite, "VERSIONS", {**VERSIONS, "depth": 9})
    assert protocol_of(task, Budget()) == mark
    monkeypatch.setattr(suite, "VERSIONS", {**VERSIONS, task.task: 9})
    assert protocol_of(task, Budget()) != mark
