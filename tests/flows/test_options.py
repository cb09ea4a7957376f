"""Every option of every flow: absent, empty, zero and negative mean what they say, or are refused by name."""

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from comem_core.recipes import RECIPES, find_recipe
from flows.checking import check_parameters
from flows.compare_retrieval import compare_retrieval
from flows.local.parameters import read_parameters
from flows.options import Word
from flows.pretrain_base import pretrain_base
from flows.re_evaluate import re_evaluate
from flows.rebuild_memory import rebuild_memory
from flows.recipes import MAKERS
from flows.synth_and_train import synth_and_train

ROOT = Path(__file__).parents[2]
FLOWS: dict[str, Flow] = {
    flow.name: flow for flow in (synth_and_train, re_evaluate, rebuild_memory, compare_retrieval, pretrain_base)
}

# Values that say too little or too much, by the type of an option; each is refused but for those in MEANT.
SUSPICIOUS: Mapping[Any, tuple[Any, ...]] = {
    str: ("", "  ", 0),
    int: (0, -1, -5, math.nan),
    float: (0, -1, -0.5, math.nan, math.inf, -math.inf),
    bool: ("", -1, [], 2),
    list: ([], [""], [-1], [0], ""),
    tuple: ([], [-1, 0], [0], ""),
    dict: ({}, {"": ""}, {"text": ""}, {"words": "column"}, []),
    Literal: ("", 0, -1, "perhaps"),
}

# What an option needs beside it, to be one at all.
BESIDE: Mapping[str, dict[str, Any]] = {
    "judge": {"generator": "backbone"},
    "reader": {"name": "tiny-text"},
    "reader.optimizer": {"num_steps": 1, "batch_size": 1},
}


# The suspicious values that mean something, with what they make of the recipe.
MEANT: dict[tuple[str, str], dict[Any, Callable[[Any], Any]]] = {
    ("synth-and-train", "writing.ask_about"): {0: lambda recipe: recipe.synthesis.num_asked_items == 0},
    ("synth-and-train", "writing.seeds"): {"[]": lambda recipe: recipe.synthesis.seeds == ()},
    ("synth-and-train", "seed"): {0: lambda recipe: recipe.training.optimizer.seed == 0},
    ("synth-and-train", "reader.seed"): {0: lambda recipe: recipe.reader.seed == 0},
    ("synth-and-train", "reader.optimizer.seed"): {0: lambda recipe: recipe.reader.optimizer.seed == 0},
    ("synth-and-train", "reader.optimizer.weight_decay"): {0: lambda recipe: recipe.reader.optimizer.weight_decay == 0},
    ("synth-and-train", "reader.optimizer.warmup_ratio"): {0: lambda recipe: recipe.reader.optimizer.warmup_ratio == 0},
    ("synth-and-train", "reader.optimizer.final_learning_rate_ratio"): {
        0: lambda recipe: recipe.reader.optimizer.final_learning_rate_ratio == 0
    },
}
MEANT |= {
    ("re-evaluate", option): {
        value: lambda recipes, test=test: all(test(each) for each in recipes.values()) for value, test in meant.items()
    }
    for (_, option), meant in list(MEANT.items())
    if option.startswith("reader.")
}
MEANT[("re-evaluate", "min_points")] = {0: lambda recipes: True}


def _plain(hint: Any) -> Any:
    """The type under None, rules and the word of a group."""
    if get_origin(hint) is Annotated:
        words = [each.group for each in hint.__metadata__ if isinstance(each, Word)]
        return words[0] if words else _plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        inner = [each for each in get_args(hint) if each is not NoneType]
        assert len(inner) == 1 or inner == [str, dict[str, Any]]  # a word, or the fields that it stands for
        return _plain(inner[0])
    return hint


def _options(name: str, hint: Any) -> Iterator[tuple[str, Any]]:
    """Yield every option that is not a group, by its whole name, with its type."""
    kind = _plain(hint)
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        for each in fields(kind):
            yield from _options(f"{name}.{each.name}", hints[each.name])
    else:
        yield name, kind


def _all_options() -> Iterator[tuple[str, str, Any]]:
    for flow in FLOWS.values():
        for name, hint in get_type_hints(flow.fn, include_extras=True).items():
            if name != "return":
                yield from ((flow.name, option, kind) for option, kind in _options(name, hint))


def _given(option: str, value: Any) -> dict[str, Any]:
    """The parameters that give one option a value."""
    *groups, last = option.split(".")
    inner: Any = value
    for depth in range(len(groups), 0, -1):
        inner = BESIDE.get(".".join(groups[:depth]), {}) | {last: inner}
        last = groups[depth - 1]
    return {last: inner}


def _kind_of(kind: Any) -> Any:
    return Literal if get_origin(kind) is Literal else get_origin(kind) or kind


CASES = [
    pytest.param(flow, option, value, id=f"{flow}-{option}-{value!r}")
    for flow, option, kind in _all_options()
    for value in SUSPICIOUS[_kind_of(kind)]
]


def _made(flow: str, given: dict[str, Any]) -> Any:
    """What the flow's recipe becomes."""
    values = check_parameters(FLOWS[flow], given)
    defaults = {name: each.default for name, each in inspect.signature(FLOWS[flow].fn).parameters.items()}
    return MAKERS[flow](
        **{name: values.get(name, defaults[name]) for name in inspect.signature(MAKERS[flow]).parameters}
    )


@pytest.mark.parametrize(("flow", "option", "value"), CASES)
def test_empty_zero_and_negative_mean_what_they_say_or_are_refused_by_name(flow: str, option: str, value: Any) -> None:
    meant = MEANT.get((flow, option), {})
    key = value if isinstance(value, int | float) and not isinstance(value, bool) else repr(value)
    if key in meant:
        assert meant[key](_made(flow, _given(option, value)))
        return
    with pytest.raises(ValueError) as caught:
        check_parameters(FLOWS[flow], _given(option, value))
    assert option.split(".")[-1] in str(caught.value), "the message does not name the option"
    assert "Traceback" not in str(caught.value) and "pydantic" not in str(caught.value)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_absent_is_the_recipe_s_own(name: str) -> None:
    recipe = find_recipe(name)
    assert _made("synth-and-train", {"recipe": name}) == recipe
    for empty in ({"knowledge": {}}, {"writing": {}}, {"limit": {}}, {"judge": None}, {"reader": None, "start": None}):
        assert _made("synth-and-train", {"recipe": name} | empty) == recipe
    assert _made("rebuild-memory", {"recipe": name}) == recipe
    for empty in ({}, {"benchmarks": {}}, {"conditions": {}}, {"conditions": None}):
        [(benchmark, asked)] = _made("re-evaluate", {"recipe": name} | empty).items()
        assert (benchmark, asked) == (recipe.evaluation.benchmark, recipe)


@pytest.mark.parametrize(
    ("option", "word", "field", "value"),
    [
        ("knowledge", "countries", "corpus", "countries"),
        ("writing", "backbone", "generator", "backbone"),
        ("limit", 40, "questions", 40),
        ("judge", "served:x", "generator", "served:x"),
        ("reader", "tiny-text", "name", "tiny-text"),
    ],
)
def test_a_word_in_the_place_of_a_group_is_its_main_field(option: str, word: Any, field: str, value: Any) -> None:
    in_full = check_parameters(synth_and_train, {option: {field: value}})
    assert check_parameters(synth_and_train, {option: word}) == in_full
    assert getattr(in_full[option], field) == value
    assert _made("synth-and-train", {option: word}) == _made("synth-and-train", {option: {field: value}})


@pytest.mark.parametrize(("option", "names"), [("benchmarks", ["infoseek", "okvqa"]), ("conditions", ["memory"])])
def test_a_list_in_the_place_of_a_group_is_its_names(option: str, names: list[str]) -> None:
    assert _made("re-evaluate", {option: names}) == _made("re-evaluate", {option: {"names": names}})


@pytest.mark.parametrize(
    ("flow", "given", "said"),
    [
        (synth_and_train, {"limitt": 3}, "limitt: there is no such option; did you mean limit?"),
        (synth_and_train, {"licence": "MIT"}, "licence: there is no such option, but knowledge has it"),
        (re_evaluate, {"k": [3]}, "k: there is no such option, but conditions has it"),
        (synth_and_train, {"benchmarks": ["okvqa"]}, "benchmarks: this is an option of re-evaluate."),
        (rebuild_memory, {"limit": 3}, "limit: this is an option of synth-and-train and re-evaluate."),
        (synth_and_train, {"knowledge": {"licens": "MIT"}}, "knowledge.licens: .* did you mean licence?"),
        (synth_and_train, {"judge": {"unparsable": "wrong"}}, "judge.generator: this field is needed"),
        (synth_and_train, {"limit": True}, "limit.questions: found True"),
        (synth_and_train, {"seed": 2**32}, "seed: found 4294967296; expected 0 to 4294967295"),
        (synth_and_train, {"reader": {"name": "tiny-text", "seed": 2**32}}, "reader: seed is 4294967296"),
        (synth_and_train, {"knowledge": {"language": "../../etc"}}, "knowledge.language: found '../../etc'"),
        (
            synth_and_train,
            {"knowledge": "/no/such/folder"},
            "knowledge: corpus '/no/such/folder': no such file or folder",
        ),
        (
            rebuild_memory,
            {"knowledge": "/no/such/folder"},
            "knowledge: corpus '/no/such/folder': no such file or folder",
        ),
        (
            re_evaluate,
            {"conditions": {"foreign": "/no/such"}},
            "conditions.foreign: corpus '/no/such': no such file or folder",
        ),
        (synth_and_train, {"writing": {"seeds": [], "ask_about": 0}}, "there would be no question"),
        (synth_and_train, {"writing": {"seeds": ["nonsense"]}}, "seeds 'nonsense': expected a benchmark"),
        (synth_and_train, {"writing": "gpt"}, "writing: generator 'gpt'; expected 'backbone'"),
        (synth_and_train, {"writing": "vllm:"}, "writing: generator 'vllm:'; expected 'backbone'"),
        (synth_and_train, {"writing": "vllm:http://there:8000"}, "names an address, .* COMEM_SERVED_URL"),
        (synth_and_train, {"judge": "gpt"}, "judge: generator 'gpt'; expected 'backbone'"),
        (synth_and_train, {"start": "/no/encoder"}, "start: /no/encoder holds no encoder"),
        (re_evaluate, {"encoders": ["nonsense"]}, "encoders: nonsense holds no encoder: there is no such folder; "),
        (
            re_evaluate,
            {"encoders": ["tiny-encoder"], "recipe": "smol_cpu"},
            "was trained for 'tiny', but the reader of",
        ),
        (re_evaluate, {"reader": "nonsense"}, "reader: no backbone 'nonsense'"),
        (synth_and_train, {"reader": {"name": "/no/such"}}, "reader: no backbone '/no/such'"),
        (synth_and_train, {"judge": {"generator": "backbone", "revision": "1"}}, "revision is '1', but the judge is"),
        (re_evaluate, {"benchmarks": ["nonsense"]}, "unknown benchmark: 'nonsense'"),
        (re_evaluate, {"conditions": ["nonsense"]}, "unknown condition: 'nonsense'"),
        (
            re_evaluate,
            {"recipe": "smol_cpu", "conditions": ["foreign"]},
            "the condition foreign shows items of another",
        ),
    ],
)
def test_what_cannot_be_is_named(flow: Flow, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_parameters(flow, given)


@pytest.mark.parametrize(
    ("flow", "option", "kind"), [pytest.param(*each, id="-".join(each[:2])) for each in _all_options()]
)
def test_a_value_of_another_type_is_refused_in_our_words(flow: str, option: str, kind: Any) -> None:
    accepted = []
    for value in ("x", 1.5, True, b"x", [], [[]], {}, {"x": []}):
        try:
            check_parameters(FLOWS[flow], _given(option, value))
        except ValueError as error:
            assert not re.search(r"Input|should|a valid |instance of|unable|dictionary|\bint\b", str(error)), error
        else:
            accepted.append(value)
    assert len(accepted) <= 3


@pytest.mark.parametrize(
    ("flow", "option", "kind"), [pytest.param(*each, id="-".join(each[:2])) for each in _all_options()]
)
def test_a_path_where_nothing_is_gets_one_short_line_that_has_it(flow: str, option: str, kind: Any) -> None:
    for value in ("/no/such/place", ["/no/such/place"]):
        try:
            check_parameters(FLOWS[flow], _given(option, value))
        except ValueError as error:
            _, *faults = str(error).splitlines()
            assert len(faults) <= 2 and "/no/such/place" in faults[0] and max(map(len, faults)) < 330, error


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        check_parameters(synth_and_train, {"seed": -1, "start": "", "limit": {"max_hours": 0, "max_samples": -5}})
    for name in ("seed: found -1", "start: found ''", "limit.max_samples: found -5", "limit.max_hours: found 0"):
        assert name in str(caught.value)


@pytest.mark.parametrize("language", ["en", "pt", "zh", "zh-Hans", "en-US", "yue", "zh_Hant"])
def test_languages_are_accepted(language: str) -> None:
    assert _made("synth-and-train", {"knowledge": {"language": language}}).knowledge.language == language


@pytest.mark.parametrize("given", [{"seed": -1}, {"limit": 0}, {"knowledge": {"language": "../../etc"}}, {"start": ""}])
def test_a_run_that_comes_another_way_is_refused_in_the_same_words(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as checked:
        check_parameters(synth_and_train, given)
    with pytest.raises(ParameterTypeError) as started:
        synth_and_train.validate_parameters(given)
    _, words = str(checked.value).split("found ")
    assert words in str(started.value)


def test_what_a_flow_makes_is_frozen_groups_that_the_form_shows() -> None:
    shown = parameter_schema(synth_and_train)
    for group in ("ChosenBackbone", "Knowledge", "Writing", "Limits"):
        properties = shown.definitions[group]["properties"]
        assert all(each.get("description") for each in properties.values()), group
        assert shown.definitions[group]["additionalProperties"] is False
    ships, found, fields = shown.properties["recipe"]["anyOf"]
    assert ships["enum"] == [*RECIPES]
    assert (found["type"], fields["type"]) == ("string", "object")


def test_every_flow_that_is_deployed_is_here() -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    functions = {each["entrypoint"].rpartition(":")[2] for each in declared}
    assert functions == {flow.fn.__name__ for flow in FLOWS.values()}


@pytest.mark.parametrize("value", ['{"corpus": /tmp}', "[1, 2", " {'corpus': 'x'}"])
def test_json_that_is_not_valid_is_not_taken_for_a_text(value: str) -> None:
    with pytest.raises(ValueError, match=r"-p knowledge: .* looks like JSON, but is not valid"):
        read_parameters([f"knowledge={value}"])
    assert read_parameters(["knowledge=/tmp/flags"]) == {"knowledge": "/tmp/flags"}


def test_one_name_stands_for_a_list_of_it() -> None:
    given = {"encoders": "tiny-encoder", "benchmarks": "countries-vqa", "conditions": "memory"}
    read = check_parameters(re_evaluate, given)
    assert read["encoders"] == ["tiny-encoder"]
    assert (read["benchmarks"].names, read["conditions"].names) == (["countries-vqa"], ["memory"])
    assert [each.embedder for each in check_parameters(compare_retrieval, {"among": "backbone"})["among"]] == [
        "backbone"
    ]
