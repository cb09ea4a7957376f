"""Frozen language models in 8 or 4 bits: which kinds there are, what they need, and how a loaded model becomes one.

The linear layers of the language model are quantised by bitsandbytes, an optional library. The vision tower,
embeddings, norms, biases and the head stay in the model's own number type. Only `quantize_layers` needs torch.
"""

import logging
import math
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

if TYPE_CHECKING:
    from torch import nn

    from comem_core.backbone.reader import Reader

Quantization = Literal["off", "int8", "nf4"]
QUANTIZATIONS = get_args(Quantization)
OFF: Quantization = "off"
PACKAGE = "bitsandbytes"

NF4_BLOCK = 64
"""Weights that share a scale in nf4 (Dettmers et al. 2023, QLoRA)."""
NF4_TABLE_BYTES = 16 * 4
SCALE_BYTES = 4
INT8_OUTLIERS = 6.0
"""Inputs with a larger value are computed in 16 bit (Dettmers et al. 2022, LLM.int8(), section 3.2)."""


def find_quantization_fault(quantization: Quantization) -> str | None:
    """Return what keeps a model from being quantised here, with the remedy; None if nothing does."""
    if quantization == OFF or find_spec(PACKAGE) is not None:
        return None
    return (
        f"a backbone in {quantization} needs the package {PACKAGE}, which is not installed here. Install it with "
        f"`.venv/bin/pip install -c constraints.txt {PACKAGE}`, or set quantization = {OFF!r}"
    )


def describe_weights(dtype: str, quantization: str) -> str:
    """Return how the weights of a backbone are held, in words: `bfloat16`, or `nf4 (computed in bfloat16)`."""
    return dtype if quantization == OFF else f"{quantization} (computed in {dtype})"


def quantize_layers(reader: "Reader", quantization: Quantization, *, device: str) -> None:
    """Quantise the language model's linear layers, one after another, and move the model to a device.

    The device never holds more than one layer in full. The weights are hashed before, because they name the backbone
    (`Reader.identify_weights`). On the device `meta` the layers stay as they are, and `count_saved_bytes` says what
    they would save.

    Raises:
        ValueError: the library is missing.
    """
    reader.quantization = quantization
    if quantization == OFF or reader.device.type == "meta":
        return
    if fault := find_quantization_fault(quantization):
        raise ValueError(fault)
    reader.source_sha256 = reader.hash_base_weights()
    model: Any = reader.model
    for name, layer in list_linear_layers(model):
        made = _make_nf4(layer) if quantization == "nf4" else _make_int8(layer)
        model.set_submodule(name, made.to(device))
        if quantization == "int8":
            made.init_8bit_state()  # at the first pass, several threads would do it at once
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = quantization == "nf4", quantization == "int8"  # PEFT asks
    model.to(device)


def list_linear_layers(model: Any) -> list[tuple[str, "nn.Linear"]]:
    """List the linear layers of the language model itself, without a LoRA, with their full names."""
    from torch import nn

    own = {id(each) for layer in model.get_decoder().layers for each in layer.modules()}
    linear = [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Linear)]
    return [(name, each) for name, each in linear if id(each) in own and "lora_" not in name]


def _make_nf4(layer: "nn.Linear") -> Any:
    import bitsandbytes  # pyright: ignore[reportMissingImports]

    weight, library = layer.weight, cast(Any, bitsandbytes.nn)
    made = library.Linear4bit(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        compute_dtype=weight.dtype,
        compress_statistics=False,
        quant_type="nf4",
        device="meta",
    )
    made.weight = library.Params4bit(
        weight.data, requires_grad=False, compress_statistics=False, quant_type="nf4", module=made
    )
    made.bias = layer.bias
    # Else bitsandbytes 0.50 packs the weights anew in the first pass without a gradient, on CPUs with AVX512-BF16: in
    # place, with scales rounded to bfloat16, and no gradient passes through them afterwards (docs/log.md).
    made.support_avx512bf16_for_cpu = False
    return made.train(layer.training)


def _make_int8(layer: "nn.Linear") -> Any:
    import bitsandbytes  # pyright: ignore[reportMissingImports]

    library = cast(Any, bitsandbytes.nn)
    # It would say at every pass of every layer that inputs are cast to float16.
    logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
    made = library.Linear8bitLt(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        has_fp16_weights=False,
        threshold=INT8_OUTLIERS,
        device="meta",
    )
    made.weight = library.Int8Params(layer.weight.data, has_fp16_weights=False, requires_grad=False)
    made.bias = layer.bias
    return made.train(layer.training)


def count_numbers(weight: Any) -> int:
    """Return how many numbers a weight stands for; in nf4, a byte has two."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else math.prod(state.shape)


def count_saved_bytes(model: Any, quantization: Quantization) -> int:
    """Return how many bytes less the weights of a whole model have once its layers are quantised."""
    if quantization == OFF:
        return 0
    return sum(
        layer.weight.nbytes - _count_quantized_bytes(layer, quantization) for _, layer in list_linear_layers(model)
    )


def _count_quantized_bytes(layer: "nn.Linear", quantization: Quantization) -> int:
    count = layer.weight.numel()
    if quantization == "int8":
        return count + SCALE_BYTES * layer.out_features
    return math.ceil(count / 2) + SCALE_BYTES * math.ceil(count / NF4_BLOCK) + NF4_TABLE_BYTES
