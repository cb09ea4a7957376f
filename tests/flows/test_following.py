"""The log of a demo tells each stage once: what a later line makes old is left out."""

from flows.local.following import drop_passing


def test_of_lines_that_come_together_a_stage_s_beginning_and_pace_give_way_to_its_later_lines() -> None:
    lines = [
        "index: begins (differs from the nearest one: recipe field `k` changed from 3 to 5)",
        "index: 1 of 4 shards",
        "index: 40 of 230 rows (image) are reused from earlier results",
        "samples (drafts): begins",
        "index: made 230 rows in 29.3 s [index 61274bc0c750e9b0]",
        "samples (translations): begins",
        "encoder: begins",
        "encoder: 5 of 18 shards, 0.47 a second, 28 s remain",
    ]
    assert drop_passing(lines) == [lines[2], lines[3], lines[4], lines[5], lines[7]]
    assert drop_passing(lines[:1]) == lines[:1]


def test_what_is_no_line_of_a_stage_is_kept() -> None:
    lines = ["report page: file:///report.html", "report page: file:///report.html", "begins", "begins"]
    assert drop_passing(lines) == lines
