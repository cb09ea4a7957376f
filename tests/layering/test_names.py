"""Names and folders by which a reader finds the way: one class a name, folders that can be taken in at a glance."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "comem_core", "warehouse")
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
MOST_MODULES = 16
# Calls that make a class; the name that the class is assigned to counts.
CLASS_MAKERS = [
    "namedtuple",
    "NamedTuple",
    "TypedDict",
    "make_dataclass",
    "new_class",
    "Enum",
    "StrEnum",
    "IntEnum",
    "type",
]

VERBS = """
accumulate acquire add adjust alert allow allows answer append apply ask attend augment average begin borrow break
build call cancel change check checkpoint choose clean clear close collect combine compare complete compress compute
convert copy count cut declare decode define deliver deploy describe download draft draw drop embed encode end enter
escape estimate evaluate exists explain export extract fetch filter find finish fit flatten flip flush follow forget
generate get getMessage go group guard guess hash hold identify ignore import index ingest inject install interrupt
iterate join judge keep kill learn leave lengthen lift link list listen load lock look lose make map mark matches
measure mend merge name need normalise number open order pack pair parse perturb plan poll pool pose post predict
prepare pretrain process project push put quantize read readline reap rebuild record refresh refuse register release
reload remember remove rename render replace report require rest restore retrieve round run save say scale schedule
score search see seek select send serve set setup shard share shorten show shut simulate sort spawn split start step
stop stream strip sum switch synth synthesize take tear tick tokenize trace train translate try turn unify upload vary
verify wait warm watch withdraw work write writelines
"""
# A question, or a way to make one thing from another: `is_whole`, `Store.of(context)`, `without_pictures`.
OTHER_BEGINNINGS = {"is", "has", "can", "as", "from", "of", "to", "with", "without", "forward", "backward", "main"}

# The functions that begin with a noun for now. Take a name out when its function is renamed; add none.
NOUNS_FOR_NOW = """
all_records answering at batch batches_of columns comem_qwen25_vl_7b comem_qwen2_vl_7b condition_rows conversation
curve_measures damage demo differing_fields empty_memory fingerprint generated held hidden inputs item logits
loglikelihood loss meaning memory missing off_at parameters phrase picture re_evaluate reader
reading recipe_to_encode recipe_to_train recipes_to_ask sample seen shown_scores smol_cpu stage_task state
status tiny_cpu trainable
"""


def shared_class_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Map each name that several classes have to where they are; classes inside functions and classes count too."""
    places: dict[str, list[str]] = defaultdict(list)
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{module}:{node.lineno}")
            elif isinstance(node, ast.Assign) and _makes_a_class(node.value):
                for target in node.targets:
                    places[ast.unparse(target)].append(f"{module}:{node.lineno}")
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def _makes_a_class(value: ast.expr) -> bool:
    """Tell whether an assigned value is a call that makes a class; `type` with one argument makes none."""
    if not isinstance(value, ast.Call):
        return False
    name = ast.unparse(value.func).rpartition(".")[2]
    return name in CLASS_MAKERS and (name != "type" or len(value.args) == 3)


def public_functions(sources: Mapping[str, str]) -> Iterator[str]:
    """Yield `module:Class.name` of public functions and methods, without properties, which are data."""
    for module, source in sources.items():
        waiting: list[tuple[str, ast.stmt]] = [("", node) for node in ast.parse(source).body]
        for inside, node in waiting:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                waiting += [(f"{inside}{node.name}.", each) for each in node.body]
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                is_property = any("property" in ast.unparse(each) for each in node.decorator_list)
                yield from () if is_property else (f"{module}:{inside}{node.name}",)


def last_name(function: str) -> str:
    return re.split(r"[:.]", function)[-1]


def begins_with_a_noun(function: str) -> bool:
    first = last_name(function).split("_")[0]
    return first not in VERBS.split() and first not in OTHER_BEGINNINGS


def large_folders(modules: list[str]) -> dict[str, int]:
    """Map each folder of too many modules to their number; `__init__.py` and `__main__.py` do not count."""
    numbers: dict[str, int] = defaultdict(int)
    for module in modules:
        numbers[str(Path(module).parent)] += not Path(module).stem.startswith("__")
    return {folder: number for folder, number in sorted(numbers.items()) if number > MOST_MODULES}


def test_a_class_name_means_one_thing() -> None:
    assert shared_class_names(SOURCES) == {}


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    assert large_folders(list(SOURCES)) == {}


def test_a_class_name_that_stands_twice_is_found() -> None:
    sources = {"tasks/a.py": "class Exam: pass\nclass Other: pass", "warehouse/b.py": "def f():\n    class Exam: pass"}
    assert shared_class_names(sources) == {"Exam": ["tasks/a.py:1", "warehouse/b.py:2"]}
    assert len(SOURCES) > 100


def test_a_class_made_by_assignment_is_one_too() -> None:
    made = ("namedtuple('Exam', 'a')", "make_dataclass('Exam', [])", "enum.Enum('Exam', 'A')", "type('Exam', (), {})")
    for call in made:
        sources = {"tasks/a.py": f"Exam = {call}", "warehouse/b.py": "class Exam: pass"}
        assert shared_class_names(sources) == {"Exam": ["tasks/a.py:1", "warehouse/b.py:1"]}
    assert shared_class_names({"tasks/a.py": "kind = type(value)", "tasks/b.py": "kind = type(other)"}) == {}


def test_a_public_function_begins_with_a_verb() -> None:
    nouns = {function for function in public_functions(SOURCES) if begins_with_a_noun(function)}
    known = set(NOUNS_FOR_NOW.split())
    unknown = [function for function in sorted(nouns) if last_name(function) not in known]
    assert unknown == [], "name it by what it does, or add a verb that VERBS lacks"
    assert known - set(map(last_name, nouns)) == set(), "take these out of NOUNS_FOR_NOW: they are gone"


def test_a_public_function_that_begins_with_a_noun_is_found() -> None:
    source = """
def marks_of(): pass
def read_marks(): pass
def _marks(): pass
class Exam:
    def answers(self): pass
    def is_over(self): pass
    @property
    def marks(self): pass
    @classmethod
    def of(cls): pass
"""
    found = [each for each in public_functions({"tasks/a.py": source}) if begins_with_a_noun(each)]
    assert found == ["tasks/a.py:marks_of", "tasks/a.py:Exam.answers"]


def test_a_folder_of_too_many_modules_is_found() -> None:
    modules = [f"tasks/room/m{number}.py" for number in range(MOST_MODULES)]
    assert large_folders([*modules, "tasks/room/__init__.py", "tasks/other.py"]) == {}
    assert large_folders([*modules, "tasks/room/one_more.py"]) == {"tasks/room": MOST_MODULES + 1}
