"""A run is opened when what its recipe asks for can be done, and otherwise nothing is begun."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.recipes import find_recipe
from tasks.run import open_run


@pytest.mark.parametrize("plan", [False, True])
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"embedder": "resnet"}, "unknown embedder 'resnet'"),
        ({"k": 0}, "retrieval.k is 0; expected a number of items, at least 1"),
    ],
)
def test_a_retrieval_that_cannot_work_is_refused_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: bool, changed: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    recipe = find_recipe("tiny_cpu")
    recipe = replace(recipe, retrieval=replace(recipe.retrieval, **changed))
    with pytest.raises(ValueError, match=said), open_run("test", recipe, plan=plan):
        pytest.fail("the run has begun")
    assert list(tmp_path.iterdir()) == []
