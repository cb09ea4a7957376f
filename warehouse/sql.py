"""Reads the package's SQL files, finds their $parameters, and writes them with values for a reader.

Independent of tables: a query is text with named parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from duckdb import DuckDBPyConnection

PACKAGE = Path(__file__).parent
_COMMENT = re.compile(r"--[^\n]*")
_PARAMETER = re.compile(r"\$([a-z_][a-z0-9_]*)")


@cache
def read_sql(folder: str, name: str) -> str:
    """Return the text of `warehouse/<folder>/<name>.sql`; for an unknown name, ValueError lists the known ones."""
    path = PACKAGE / folder / f"{name}.sql"
    if not path.is_file():
        raise ValueError(
            f"no query {name!r} in warehouse/{folder}; the queries are {', '.join(list_sql_names(folder))}"
        )
    return path.read_text(encoding="utf-8")


def list_sql_names(folder: str) -> list[str]:
    """List the queries of a folder, sorted."""
    return sorted(path.stem for path in (PACKAGE / folder).glob("*.sql"))


def read_heading(text: str) -> str:
    """Return the comment that opens a query, as one line; it describes the query."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


def list_parameters(text: str) -> set[str]:
    """Return the names of the $parameters that a query uses outside its comments."""
    return set(_PARAMETER.findall(_COMMENT.sub("", text)))


def read_report_rows(con: DuckDBPyConnection, name: str, parameters: Mapping[str, object]) -> list[dict]:
    """Run `reports/<name>.sql` and return its rows as dicts; ValueError names a missing parameter."""
    text = read_sql("reports", name)
    needed = list_parameters(text)
    if missing := sorted(needed - parameters.keys()):
        raise ValueError(
            f"the report {name} needs {', '.join(missing)}; got {', '.join(sorted(parameters)) or 'nothing'}"
        )
    cursor = con.execute(text, {key: parameters[key] for key in needed})
    columns = [column[0] for column in cursor.description or []]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def write_with_values(text: str, parameters: Mapping[str, object]) -> str:
    """Replace a query's parameters by SQL literals, for a person to paste; programs bind them instead."""
    return _PARAMETER.sub(
        lambda match: write_literal(parameters[match[1]]) if match[1] in parameters else match[0], text
    )


def write_name(name: str) -> str:
    """Write the name of a column that a file brings as SQL."""
    return '"' + name.replace('"', '""') + '"'


def write_literal(value: object) -> str:
    """Write a plain value as SQL: 'it''s', 3, NULL, ['a', 'b']."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(write_literal(entry) for entry in value) + "]"
    return "'" + str(value).replace("'", "''") + "'"
