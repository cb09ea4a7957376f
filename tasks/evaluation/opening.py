"""How a program opens what a run made: where its encoder and bank are, and the lines of Python that open them."""

from dataclasses import dataclass

from prefect.artifacts import create_markdown_artifact

from comem_core.serving.layout import BANK_STAGE, ENCODER_STAGE, Record
from tasks.engine.context import Context
from tasks.engine.plan import get_plan
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger, show
from tasks.run import Run


def explain_opening(run: Run, bank: Reference) -> None:
    """Log where the encoder and the bank are and how to open them, and show it in the Prefect UI."""
    if get_plan() is not None:
        return
    record = Store.of(run.context).find(BANK_STAGE, bank.fingerprint)
    assert record is not None, f"bank {bank.fingerprint} has just been made"
    if (opening := describe_opening(run.context, record)) is None:
        return
    get_stage_logger().info("%s", "\n".join(opening.lines))
    text = "\n".join(["\n\n".join(opening.places), "", "```python", *opening.code, "```"])
    show(create_markdown_artifact, text, key="memory", description="The encoder and the bank, and how to open them")


@dataclass(frozen=True)
class Opening:
    """Where an encoder and its bank are, a line for each, and the lines of Python that open them."""

    places: tuple[str, ...]
    code: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """All of it, as lines for a log or a terminal."""
        return [*self.places, "open them in Python (docs/memory.md):", *(f"    {line}" for line in self.code)]


def describe_opening(context: Context, bank: Record) -> Opening | None:
    """Describe where a bank and its encoder are, and how a program opens them.

    None for an encoder from outside the store, because only its user knows where it is.
    """
    store = Store.of(context)
    encoder = store.find(ENCODER_STAGE, bank["inputs"]["encoder"])
    if encoder is None:
        return None
    return Opening(
        places=(f"encoder: {encoder['uri']}", f"bank:    {bank['uri']}"),
        code=("import comem_core as comem", f'memory = comem.open("{store.place}", bank="{bank["fingerprint"]}")'),
    )
