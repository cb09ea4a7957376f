"""What a run shows in the Prefect UI, and what it costs when nobody takes it."""

import logging

import httpx
import pytest
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client

from tasks.engine import telling
from tasks.engine.telling import show

NOBODY = "http://127.0.0.1:9/api"


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_is_gone_costs_its_view_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(telling, "_gone_until", 0.0)

    @flow
    def story() -> str:
        show(create_markdown_artifact, "seen", key="before")
        show(httpx.get, NOBODY)
        show(create_markdown_artifact, "not tried", key="soon-after")
        return "ended"

    with caplog.at_level(logging.WARNING):
        assert story() == "ended"
    assert "the Prefect server did not take what its page shows of this" in caplog.text
    with get_client(sync_client=True) as client:
        shown = {each.key for each in client.read_artifacts()}
    assert "before" in shown and "soon-after" not in shown


def test_outside_prefect_nothing_is_shown() -> None:
    show(pytest.fail, "it was called")
