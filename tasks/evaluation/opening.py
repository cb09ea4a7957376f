"""How a program opens what a run made: where its encoder and bank are, and the lines of Python that open them."""

from prefect.artifacts import create_markdown_artifact

from comem_core.serving.layout import BANK_STAGE, ENCODER_STAGE, Record
from tasks.engine.context import Context
from tasks.engine.plan import get_plan
from tasks.engine.stage import get_stage_logger, is_under_prefect
from tasks.engine.store import Reference, Store
from tasks.run import Run


def explain_opening(run: Run, bank: Reference) -> None:
    """Log where the encoder and the bank are and how to open them, and show it in the Prefect UI."""
    if get_plan() is not None:
        return
    record = Store.of(run.context).find(BANK_STAGE, bank.fingerprint)
    assert record is not None, f"bank {bank.fingerprint} has just been made"
    if not (lines := describe_opening(run.context, record)):
        return
    get_stage_logger().info("%s", "\n".join(lines))
    if is_under_prefect():
        where, code = lines[:2], lines[3:]
        text = "\n".join(["\n\n".join(where), "", "```python", *(line.strip() for line in code), "```"])
        create_markdown_artifact(text, key="memory", description="The encoder and the bank, and how to open them")


def describe_opening(context: Context, bank: Record) -> list[str]:
    """Return the lines that say where a bank and its encoder are, and how a program opens them.

    There are none for an encoder from outside the store, because only its user knows where it is.
    """
    store = Store.of(context)
    encoder = store.find(ENCODER_STAGE, bank["inputs"]["encoder"])
    if encoder is None:
        return []
    return [
        f"encoder: {encoder['uri']}",
        f"bank:    {store.find_path(BANK_STAGE, bank['fingerprint'])}",
        "open them in Python (docs/memory.md):",
        "    import comem_core as comem",
        f'    memory = comem.open("{context.store}", bank="{bank["fingerprint"]}")',
    ]
