"""How many parameters an encoder has, and of what that is which share. A share without its denominator says nothing:
the paper's "1.2 %" is of two copies of the backbone."""

from collections.abc import Mapping


def describe_parameter_share(report: Mapping[str, int]) -> str:
    """Describe the share of trained parameters in one line, from the counts `lora`, `qformer` and `backbone` of
    `MemoryEncoder.count_parameters`.

    The first share is of one backbone, which is what is in memory here. The second is of the paper's system: an encoder
    and a reader, each a whole copy of the backbone, and the encoder's own parameters.
    """
    own, one = report["lora"] + report["qformer"], report["backbone"]
    both = 2 * one + own
    return (
        f"{own:,} own parameters (LoRA {report['lora']:,}, Q-Former {report['qformer']:,}): {own / one:.2%} of one "
        f"backbone ({one:,} parameters), {own / both:.2%} of encoder and reader as two copies, as the paper counts "
        f"({both:,})"
    )
