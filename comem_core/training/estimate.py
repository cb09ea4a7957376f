"""Estimates the memory of a training on one device before anything is loaded: the training's own code on shapes alone.

What is computed again, cut into micro-batches or kept is therefore as in the training itself. docs/gpu.md compares
estimates with measured peaks.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from comem_core.backbone.interface import Backbone
from comem_core.backbone.quantization import OFF, count_saved_bytes, list_linear_layers
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.encoder import MemoryEncoder
from comem_core.training.memory import AnswerFromMemory
from comem_core.training.recipe import ComputeOptions, TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.training.shapes import META, CountedShapes, compute_as_quantized, switch_to_fused_attention
from comem_core.training.sharding import GATHERED_COPIES, count_layer_bytes
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

ITEM_TOKENS = 644
"""The mean length of an item in the paper, its picture included."""
WORDS_A_TOKEN = 0.5  # of repeated names, as a 7B's tokenizer cuts them


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """The bytes that the tensors of a training hold on one device at the peak of a step.

    `weights` are those of the backbone, the LoRA and the Q-Former; `optimizer` are the gradients and AdamW's two
    moments of what is trained; `activations` is everything else. What a device's library takes for itself, and what an
    allocator holds besides, is not in it. `layers` has the bytes of each layer of the language model, which are among
    the weights; of a quantised model, whose layers are not shared out, none.
    """

    weights: int
    optimizer: int
    activations: int
    layers: tuple[int, ...] = field(default=(), repr=False)

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.activations

    def share_out(self, num_workers: int) -> "TrainingMemory":
        """Return what each of the workers holds that share the layers out (`training.sharding`)."""
        assert self.layers
        own = math.ceil(sum(self.layers) / num_workers) + GATHERED_COPIES * max(self.layers)
        return replace(self, weights=self.weights - sum(self.layers) + own, layers=())

    def __str__(self) -> str:
        parts = {"weights": self.weights, "optimizer": self.optimizer, "activations": self.activations}
        return f"{self.total / 1e9:.2f} GB ({', '.join(f'{name} {size / 1e9:.2f}' for name, size in parts.items())})"


def estimate_training_memory(
    make_encoder: Callable[[], MemoryEncoder],
    recipe: TrainingRecipe,
    samples: Sequence[TrainingSample],
    compute: ComputeOptions,
) -> TrainingMemory:
    """Estimate the memory of a step whose batch is these samples, with the whole model on the device.

    `make_encoder` makes the encoder on the meta device, for example `MemoryEncoder(load_backbone(name, device="meta"),
    recipe.encoder)`.

    Raises:
        UnknownShape: the model's shapes depend on values, as those of Qwen3-VL do.
    """
    with CountedShapes() as counted:
        with META:
            encoder = make_encoder()
        switch_to_fused_attention(encoder.backbone.model)
        if encoder.backbone.quantization != OFF:
            for _, layer in list_linear_layers(encoder.backbone.model):
                compute_as_quantized(layer, keeps_input=encoder.backbone.quantization == "int8")
        alone = replace(compute, parts=1, sharded=False)
        objective = AnswerFromMemory(encoder, recipe, samples, compute=alone)
        models = (encoder.backbone.model, encoder.qformer)
        held = {id(each): each for model in models for each in (*model.parameters(), *model.buffers())}
        counted.count(held.values())
    batch = objective.batches.prepare(samples)
    with counted:
        objective.accumulate_batch_gradient(batch)
    trained = sum(each.nbytes for each in objective.trainable().values())
    weights = sum(each.nbytes for each in held.values())
    moments = 2 * trained  # AdamW has made them before the second step
    whole = TrainingMemory(
        weights=weights,
        optimizer=trained + moments,
        activations=counted.peak - weights - trained,
        layers=count_layer_bytes(encoder.backbone.model),
    )
    return _quantize(whole, encoder.backbone)


def _quantize(whole: TrainingMemory, backbone: Backbone) -> TrainingMemory:
    if backbone.quantization == OFF:
        return whole
    return replace(
        whole,
        weights=whole.weights - count_saved_bytes(backbone.model, backbone.quantization),
        layers=(),
    )


def make_typical_samples(count: int, num_items: int) -> list[TrainingSample]:
    """Make samples of the shipped world whose items are about as long as the paper's."""
    items = [item for item in load_knowledge_items() if item.language == "en"]
    questions = load_benchmark_questions("dev")
    samples = []
    for place in range(count):
        shown = (items[(place * num_items + rank) % len(items)] for rank in range(num_items))
        samples.append(TrainingSample.of(questions[place % len(questions)], [_lengthen(item) for item in shown]))
    return samples


def _lengthen(item: KnowledgeItem) -> KnowledgeItem:
    words = item.text.split()
    repeated = words * math.ceil(WORDS_A_TOKEN * ITEM_TOKENS / len(words))
    return replace(item, text=" ".join(repeated[: int(WORDS_A_TOKEN * ITEM_TOKENS)]))
