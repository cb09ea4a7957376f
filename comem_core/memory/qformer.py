"""The Q-Former: a Perceiver resampler that turns an item's hidden states into M memory vectors.

One block shared by all rounds, as in the authors' code (reference implementation, `qformer.py`): keys and values are
the inputs and the latents together, so there is no separate self-attention among the latents. No positional encoding.

Shapes: B items, T tokens of the longest item, M memory vectors (latents), D width, H heads, E = D / H.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class QFormerRecipe:
    """The Q-Former's shape. Defaults are the paper's; `width` and `num_heads` follow the backbone (3584 / 16 at 7B)."""

    width: int
    num_heads: int
    num_vectors: int = 8
    num_rounds: int = 8
    feed_forward_multiplier: int = 4
    # Linear layers start as the host model's do (reference code); 0.02 is that of the 7B models.
    initializer_range: float = 0.02
    # Ours, for narrow models: attention and both projections start near the identity, so that what is attended to
    # arrives in the memory from the first step on.
    copying_start: bool = False


class Block(nn.Module):
    """Cross-attention from latents to inputs and latents, then a feed-forward; pre-norm, residual, no biases."""

    def __init__(self, recipe: QFormerRecipe):
        super().__init__()
        width = recipe.width
        if width % recipe.num_heads:
            raise ValueError(f"Q-Former width {width} is not a multiple of its {recipe.num_heads} heads")
        self.num_heads = recipe.num_heads
        self.norm_inputs, self.norm_latents = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width, bias=False)
        self.to_key_value = nn.Linear(width, 2 * width, bias=False)
        self.to_output = nn.Linear(width, width, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, recipe.feed_forward_multiplier * width, bias=False),
            nn.GELU(),
            nn.Linear(recipe.feed_forward_multiplier * width, width, bias=False),
        )

    def forward(self, latents_BMD: Tensor, inputs_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        latents_BMD = latents_BMD + self.attend(latents_BMD, inputs_BTD, mask_BT)
        return latents_BMD + self.feed_forward(latents_BMD)

    def attend(self, latents_BMD: Tensor, inputs_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        b, m, d = latents_BMD.shape
        normed_BMD = self.norm_latents(latents_BMD)
        seen_BSD = torch.cat([self.norm_inputs(inputs_BTD), normed_BMD], dim=1)
        key_BSD, value_BSD = self.to_key_value(seen_BSD).chunk(2, dim=-1)
        query_BHME, key_BHSE, value_BHSE = (
            tensor.view(b, -1, self.num_heads, d // self.num_heads).transpose(1, 2)
            for tensor in (self.to_query(normed_BMD), key_BSD, value_BSD)
        )
        scale = (d // self.num_heads) ** -0.25  # on both sides, which keeps half-precision scores in range
        scores_BHMS = (query_BHME * scale) @ (key_BHSE * scale).transpose(-1, -2)
        visible_BS = torch.cat([mask_BT, mask_BT.new_ones(b, m)], dim=1)
        lowest = torch.finfo(scores_BHMS.dtype).min
        scores_BHMS = scores_BHMS.masked_fill(~visible_BS[:, None, None, :], lowest)
        weights_BHMS = scores_BHMS.float().softmax(dim=-1).to(value_BHSE.dtype)
        return self.to_output((weights_BHMS @ value_BHSE).transpose(1, 2).reshape(b, m, d))


class QFormer(nn.Module):
    """M learned latents attend to an item's hidden states `num_rounds` times through one shared block."""

    def __init__(self, recipe: QFormerRecipe):
        super().__init__()
        self.recipe = recipe
        self.latents_MD = nn.Parameter(torch.randn(recipe.num_vectors, recipe.width) / math.sqrt(recipe.width))
        self.project_in = nn.Linear(recipe.width, recipe.width)
        self.block = Block(recipe)
        self.project_out = nn.Linear(recipe.width, recipe.width)
        self.norm_out = nn.LayerNorm(recipe.width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=recipe.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if recipe.copying_start:
            self._start_copying()

    def _start_copying(self) -> None:
        with torch.no_grad():
            to_value = self.block.to_key_value.weight[self.recipe.width :]
            scale = 1 / (self.recipe.width * self.recipe.initializer_range**2)
            self.block.to_output.weight.copy_(scale / self.recipe.num_rounds * to_value.T)
            for projection in (self.project_in, self.project_out):
                nn.init.normal_(projection.weight, std=0.1 * self.recipe.initializer_range)
                projection.weight += torch.eye(self.recipe.width)
            self.block.feed_forward.get_parameter("3.weight").mul_(0.1)

    def forward(self, inputs_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Turn hidden states and their mask (bool, False = padding) into memory_BMD, in the inputs' dtype."""
        inputs_BTD = self.project_in(inputs_BTD)
        latents_BMD = self.latents_MD.to(inputs_BTD.dtype).expand(inputs_BTD.shape[0], -1, -1)
        for _ in range(self.recipe.num_rounds):
            latents_BMD = self.block(latents_BMD, inputs_BTD, mask_BT)
        return self.norm_out(self.project_out(latents_BMD))
