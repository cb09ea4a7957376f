"""States an encoder's parameters as a share, always with its denominator: the paper's "1.2 %" is a share of two copies
of the backbone."""

from collections.abc import Mapping


def describe_parameter_share(report: Mapping[str, int]) -> str:
    """Describe the share of trained parameters in one line, from the counts of `MemoryEncoder.count_parameters`.

    The first share is of one backbone, as loaded here. The second is of the paper's system: the encoder's own
    parameters and two copies of the backbone, one each for encoder and reader.
    """
    own, one = report["lora"] + report["qformer"], report["backbone"]
    both = 2 * one + own
    return (
        f"{own:,} own parameters (LoRA {report['lora']:,}, Q-Former {report['qformer']:,}): {own / one:.2%} of one "
        f"backbone ({one:,} parameters), {own / both:.2%} of encoder and reader as two copies, as the paper counts "
        f"({both:,})"
    )
