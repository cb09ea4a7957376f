"""The command that measures at a million: options that contradict each other are refused."""

from pathlib import Path

import pytest

from tasks.measures.scale import main


def test_two_choices_of_what_is_measured_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "ingest", "--against", str(tmp_path)])
    assert "not allowed with argument" in capsys.readouterr().err
