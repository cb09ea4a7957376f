"""Shares the layers of a frozen language model out among training workers, so that none of them holds all (FSDP2).

A layer is gathered while it computes, forward and backward, and given back. The vision tower, embeddings, head and
norms, the LoRA and the Q-Former are whole on every worker. All workers must run the layers equally often, in the same
order; the vision tower is run where there are pictures.
"""

from typing import Any

from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from comem_core.backbone.quantization import OFF
from comem_core.memory.encoder import MemoryEncoder

GATHERED_COPIES = 3
"""Of one layer, at most: the weights in use, and on a GPU what has arrived for them and for the next layer."""


def shard_encoder(encoder: MemoryEncoder, device: str) -> None:
    """Move an encoder that was loaded on the CPU to a device, with this worker's part of each layer.

    The device never holds more than one whole layer. The workers' process group must be there. From here on the model
    is never run in `torch.inference_mode`: training cannot use what is gathered there.
    """
    assert encoder.backbone.quantization == OFF  # `fully_shard` would lose the scales of its weights
    _ = encoder.made_for  # the hash of the whole weights, which nobody has afterwards
    model = encoder.backbone.model
    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    whole = {weight for name, weight in model.named_parameters() if "lora_" in name}
    for layer in list_layers(model):
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    # Nothing of the decoder's own is shared. But without a common root each layer would keep what has arrived for it
    # last, on a GPU, and nothing would be gathered ahead.
    decoder: Any = model.get_decoder()
    fully_shard(decoder, mesh=mesh, ignored_params={each for each in decoder.parameters() if not is_shared(each)})
    for weight in model.parameters():
        if not is_shared(weight):  # a copy: as long as one tensor of the weights' file is in use, all of it is mapped
            weight.data = weight.data.to(device, copy=True)
    for module in (model, encoder.qformer):
        module.to(device)  # pyright: ignore[reportArgumentType, reportCallIssue]


def is_shared(weight: nn.Parameter) -> bool:
    """Tell whether each worker has its part of a weight alone."""
    return isinstance(weight, DTensor)


def list_layers(model: Any) -> list[nn.Module]:
    """List the layers of a model's language model."""
    return list(model.get_decoder().layers)


def count_layer_bytes(model: nn.Module) -> tuple[int, ...]:
    """Return the bytes of the weights of each layer, which workers share out."""
    return tuple(
        sum(weight.nbytes for name, weight in layer.named_parameters() if "lora_" not in name)
        for layer in list_layers(model)
    )
