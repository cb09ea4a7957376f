"""Commands of the pages and of the Makefile run as they stand: the environment, the files and the code are there."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "log.md")]
BARE = re.compile(
    r"(?:^|`|\$ )(?:[A-Z_]+=\S+ )*(?:prefect (?:deployment|flow-run|config|profile|server|work-pool|worker)"
    r"|python -m (?:comem_core|flows|tasks|warehouse))\b",
    re.M,
)


def test_a_bare_command_is_found() -> None:
    assert BARE.search("```\nprefect deployment run synth-and-train\n```") and BARE.search(
        "run `python -m warehouse x`"
    )
    assert not BARE.search(".venv/bin/prefect deployment run x\n`.venv/bin/python -m warehouse`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_name_the_environment_that_has_them(page: Path) -> None:
    assert BARE.findall(page.read_text(encoding="utf-8")) == []


NAMED = re.compile(r"(?<![\w./-])((?:application|flows|tasks|findings)/[\w/]+\.(?:py|sh|yaml|toml))\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_project_that_a_page_names_are_there(page: Path) -> None:
    named = set(NAMED.findall(page.read_text(encoding="utf-8")))
    assert {each for each in named if not (ROOT / each).is_file()} == set()


def test_the_files_for_a_cluster_are_named_on_its_page_and_run_what_is_there() -> None:
    page = (ROOT / "docs/cluster.md").read_text(encoding="utf-8")
    files = [ROOT / "application" / name for name in ("Dockerfile", "join_ray.sh", "kuberay.yaml", "slurm.sh")]
    assert [path.name for path in files if f"application/{path.name}" not in page] == []
    texts = "\n".join(path.read_text(encoding="utf-8") for path in files)
    modules = set(re.findall(r"python -m ([\w.]+)", texts))
    assert modules and all((ROOT / name.replace(".", "/")).exists() for name in modules)
    copied = re.findall(r"^COPY (.+) \S+$", files[0].read_text(encoding="utf-8"), re.M)
    assert copied and all((ROOT / name).exists() for line in copied for name in line.split())
    version = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert version and f'rayVersion: "{version[1]}"' in texts


OURS = ("comem_core", "flows", "tasks", "warehouse")
WITH_COMMANDS = [ROOT / "Makefile", ROOT / ".ci/run", *sorted((ROOT / "application").glob("*.sh")), *PAGES]
CODE = re.compile(r"(?:python|\$\(PYTHON\)) -c '([^']+)'")
MODULE = re.compile(rf"(?:python|\$\(PYTHON\)) -m ((?:{'|'.join(OURS)})[\w.]*)")


def list_missing(text: str) -> Iterator[str]:
    """Yield what the Python commands of a text name of ours that does not exist: modules, and names in them."""
    for name in MODULE.findall(text):
        if find_spec(name.rstrip(".")) is None:
            yield name
    for node in (node for code in CODE.findall(text) for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS):
            module = import_module(node.module or "")
            yield from (f"{node.module}.{each.name}" for each in node.names if not hasattr(module, each.name))


@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: path.name)
def test_python_commands_name_modules_and_functions_that_are_there(path: Path) -> None:
    assert list(list_missing(path.read_text(encoding="utf-8"))) == []


def test_a_name_that_is_not_there_is_found() -> None:
    command = "$(PYTHON) -c 'from comem_core.backbone.finding import find_backbone_folder, backbone_folder'"
    assert list(list_missing(command)) == ["comem_core.backbone.finding.backbone_folder"]
    assert list(list_missing(".venv/bin/python -m warehouse.nowhere report")) == ["warehouse.nowhere"]
    assert any("find_backbone_folder" in code for code in CODE.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
