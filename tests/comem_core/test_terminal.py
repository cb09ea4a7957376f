"""No character that a terminal would obey leaves a command, whatever text brought it."""

import ast
import contextlib
import io
import logging
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from comem_core import terminal
from comem_core.terminal import PlainRecord, PlainStream, escape_controls
from warehouse.commands import terminal as of_warehouse

ROOT = Path(__file__).parents[2]
SHOWN = {"\n", "\t"}
TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
OBEYED = [
    each
    for each in map(chr, range(0x110000))
    if each not in SHOWN
    and (unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(each) in TURNS)
]


def test_every_such_character_is_escaped_and_no_other() -> None:
    assert len(OBEYED) > 2048 + 60
    assert [each for each in OBEYED if len(escape_controls(each)) < 2 or not escape_controls(each).isascii()] == []
    assert escape_controls("\x1b]0;x\x07\r\u202e") == r"\x1b]0;x\x07\r\u202e"
    others = "".join(each for each in map(chr, range(0x110000)) if each not in {*OBEYED})
    assert escape_controls(others) == others


def test_the_warehouse_escapes_the_same() -> None:
    everything = "".join(map(chr, range(0x110000)))
    assert of_warehouse.escape_controls(everything) == terminal.escape_controls(everything)


def test_what_is_printed_is_escaped_and_our_own_erasing_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    behind = io.StringIO()
    monkeypatch.setattr(sys, "stdout", PlainStream(behind))
    print("a\x1b[2Jb", end="")
    sys.stdout.writelines(["\x9b1A\n"])
    terminal.write_controls("\r\033[K")
    assert behind.getvalue() == "a\\x1b[2Jb\\x9b1A\n\r\033[K"


def test_logs_are_escaped_with_their_values_and_tracebacks(caplog: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("of.another.library")
    logger.addHandler(handler)
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(PlainRecord)
    try:
        logger.warning("%s of %d", "\x1b[31mred", 3)
        with contextlib.suppress(ValueError):
            try:
                raise ValueError("bad \x1b]0;title\x07")
            except ValueError:
                logger.exception("it failed")
                raise
    finally:
        logging.setLogRecordFactory(before)
        logger.removeHandler(handler)
    assert "\x1b" not in stream.getvalue() and "\x07" not in stream.getvalue()
    assert stream.getvalue().startswith("\\x1b[31mred of 3\nit failed\nTraceback")
    assert "ValueError: bad \\x1b]0;title\\x07" in stream.getvalue()


def list_commands() -> list[Path]:
    """List the modules that are commands of the application or of the service."""
    folders = [ROOT / "flows", ROOT / "tasks", ROOT / "warehouse", ROOT / "comem_core" / "serving"]
    found = (path for folder in folders for path in sorted(folder.rglob("*.py")))
    return [path for path in found if '__name__ == "__main__"' in path.read_text() and "measures" not in path.parts]


@pytest.mark.parametrize("path", list_commands(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_guards_its_output_first(path: Path) -> None:
    [begin] = [
        each
        for each in ast.parse(path.read_text()).body
        if isinstance(each, ast.If) and ast.unparse(each.test) == "__name__ == '__main__'"
    ]
    assert ast.unparse(begin.body[0]) == "guard_output()"


@pytest.mark.parametrize("module", ["warehouse", "tasks.upkeep.fsck", "comem_core.serving.http"])
def test_a_name_with_control_characters_does_not_reach_the_terminal(module: str, tmp_path: Path) -> None:
    name = "x\x1b]0;taken\x07\x9b2J"
    arguments = {
        "warehouse": ["lineage", name, "--database", str(tmp_path / name)],
        "tasks.upkeep.fsck": [],
        "comem_core.serving.http": [str(tmp_path / name)],
    }[module]
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "COMEM_ROOT": str(tmp_path)}
    environ |= {"COMEM_STORE": str(tmp_path / name), "COMEM_WAREHOUSE": str(tmp_path / name / "w.duckdb")}
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
    )
    said = ended.stdout + ended.stderr
    assert "\\x1b]0;taken\\x07\\x9b2J" in said and not {"\x1b", "\x07", "\x9b"} & {*said}


def test_whoever_runs_stages_has_escaped_logs() -> None:
    code = "import logging, tasks; logging.getLogger('x').warning('%s', '\\x1b[2J')"
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert ended.stderr == "\\x1b[2J\n"
