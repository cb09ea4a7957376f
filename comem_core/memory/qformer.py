"""The Q-Former: a Perceiver resampler that turns an item's hidden states into M memory vectors.

All rounds share one block, as in the authors' code (reference implementation, `qformer.py`). Keys and values come from
the inputs and the latents together, so there is no separate self-attention among the latents. There is no positional
encoding, unless counts are read (see `Counter`). No round changes the inputs, so their keys and values are computed
only once.

Shapes: B items, T tokens of the longest item, M memory vectors (latents), D width, H heads, E = D / H.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad


@dataclass(frozen=True, kw_only=True)
class QFormerRecipe:
    """The Q-Former's shape. Defaults are the paper's; `width` and `num_heads` follow the backbone (3584 / 16 at 7B)."""

    width: int
    num_heads: int
    num_vectors: int = 8
    num_rounds: int = 8
    feed_forward_multiplier: int = 4
    # Linear layers start with the backbone's own range (reference code), which is 0.02 in the 7B models.
    initializer_range: float = 0.02
    # Ours, for narrow models: attention and both projections start near the identity, so that from the first step the
    # memory contains what is attended to.
    copying_start: bool = False
    # Ours: see `Counter`.
    reads_counts: bool = False


class InputKeysValues(NamedTuple):
    """The inputs' keys (scaled) and values, the same in every round; padding_B11T is True where an input is padding."""

    key_BHTE: Tensor
    value_BHTE: Tensor
    padding_B11T: Tensor


class Read(NamedTuple):
    """What the Q-Former makes of a batch of items, and how: for objectives that also train the way.

    `weights_BHMT` is how much the last round attends to each input. `worth_BT` are the logits of each token's worth
    (see `Counter`); None if counts are not read.
    """

    memory_BMD: Tensor
    weights_BHMT: Tensor
    worth_BT: Tensor | None


class Counter(nn.Module):
    """Tells each token its place among the tokens that are worth remembering.

    A gate gives each token a worth in (0, 1), from the token and the one before it. The running sum of the worths is
    coded by sines and cosines (as positions in Vaswani et al. 2017) and added to the token, so that the m-th latent can
    find the m-th such token by its place: these are the contextual positions of Golovneva et al. (arXiv 2405.18719).
    An item with more than M such tokens has its counts scaled to M. Without counts, attention finds no m-th of
    anything, and a memory learns far more slowly which tokens to hold (docs/smol.md).
    """

    HIDDEN = 128
    LONGEST = 200.0  # the longest wave length, in counts, over 2 pi; the shortest is 1
    AMPLITUDE = 4.0  # of the code, where the inputs have a root mean square of about 1
    START = -1.0  # of the gate: about a quarter of the tokens

    def __init__(self, width: int, num_vectors: int):
        super().__init__()
        self.num_vectors = num_vectors
        self.hidden, self.gate = nn.Linear(2 * width, self.HIDDEN), nn.Linear(self.HIDDEN, 1)
        rates = torch.exp(-math.log(self.LONGEST) * torch.arange(0, width, 2) / width)
        self.register_buffer("rates", rates, persistent=False)

    def start_gate(self) -> None:
        """Start with the same worth for every token."""
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, self.START)

    def forward(self, inputs_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Return the code of each token's count, code_BTD, and the logit of its worth, worth_BT."""
        known_BTD = inputs_BTD * mask_BT[..., None]
        before_BTD = pad(known_BTD, (0, 0, 1, 0))[:, :-1]
        worth_BT = self.gate(gelu(self.hidden(torch.cat([known_BTD, before_BTD], dim=-1)))).squeeze(-1).float()
        counts_BT = (worth_BT.sigmoid() * mask_BT).cumsum(dim=1)
        if counts_BT.shape[1]:
            counts_BT = counts_BT * (self.num_vectors / counts_BT[:, -1:].clamp(min=self.num_vectors))
        angles_BTF = counts_BT[..., None] * self.rates
        code_BTD = self.AMPLITUDE * torch.cat([angles_BTF.sin(), angles_BTF.cos()], dim=-1)
        return code_BTD.to(inputs_BTD.dtype), worth_BT


class Block(nn.Module):
    """Cross-attention from latents to inputs and latents, then a feed-forward; pre-norm, residual, no biases."""

    def __init__(self, recipe: QFormerRecipe):
        super().__init__()
        width = recipe.width
        if width % recipe.num_heads:
            raise ValueError(f"Q-Former width {width} is not a multiple of its {recipe.num_heads} heads")
        self.num_heads = recipe.num_heads
        self.scale = (width // recipe.num_heads) ** -0.25  # of queries and keys: keeps half-precision scores in range
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

    def project_inputs(self, inputs_BTD: Tensor, mask_BT: Tensor) -> InputKeysValues:
        """Compute the inputs' keys and values, which no round changes."""
        key_BHTE, value_BHTE = self._project_to_keys_and_values(self.norm_inputs(inputs_BTD))
        return InputKeysValues(key_BHTE, value_BHTE, ~mask_BT[:, None, None, :])

    def forward(self, latents_BMD: Tensor, inputs: InputKeysValues) -> tuple[Tensor, Tensor]:
        """Run one round; return the latents, and the weights of the inputs in the round's attention."""
        attended_BMD, weights_BHMT = self.attend(latents_BMD, inputs)
        latents_BMD = latents_BMD + attended_BMD
        return latents_BMD + self.feed_forward(latents_BMD), weights_BHMT

    def attend(self, latents_BMD: Tensor, inputs: InputKeysValues) -> tuple[Tensor, Tensor]:
        normed_BMD = self.norm_latents(latents_BMD)
        query_BHME = self._split_heads(self.to_query(normed_BMD)) * self.scale
        own_key_BHME, own_value_BHME = self._project_to_keys_and_values(normed_BMD)
        scores_BHMT = query_BHME @ inputs.key_BHTE.transpose(-1, -2)
        scores_BHMT = scores_BHMT.masked_fill(inputs.padding_B11T, torch.finfo(scores_BHMT.dtype).min)
        # One softmax over inputs and latents, S = T + M; only the scores are concatenated, not keys and values.
        scores_BHMS = torch.cat([scores_BHMT, query_BHME @ own_key_BHME.transpose(-1, -2)], dim=-1)
        weights_BHMS = scores_BHMS.float().softmax(dim=-1).to(query_BHME.dtype)
        weights_BHMT, own_weights_BHMM = weights_BHMS.split([scores_BHMT.shape[-1], latents_BMD.shape[1]], dim=-1)
        attended_BHME = weights_BHMT @ inputs.value_BHTE + own_weights_BHMM @ own_value_BHME
        return self.to_output(attended_BHME.transpose(1, 2).flatten(start_dim=2)), weights_BHMT

    def _project_to_keys_and_values(self, normed_BSD: Tensor) -> tuple[Tensor, Tensor]:
        key_BSD, value_BSD = self.to_key_value(normed_BSD).chunk(2, dim=-1)
        return self._split_heads(key_BSD) * self.scale, self._split_heads(value_BSD)

    def _split_heads(self, tensor_BSD: Tensor) -> Tensor:
        return tensor_BSD.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class QFormer(nn.Module):
    """M learned latents attend to an item's hidden states `num_rounds` times through one shared block."""

    def __init__(self, recipe: QFormerRecipe):
        super().__init__()
        self.recipe = recipe
        self.latents_MD = nn.Parameter(torch.randn(recipe.num_vectors, recipe.width) / math.sqrt(recipe.width))
        self.project_in = nn.Linear(recipe.width, recipe.width)
        self.counter = Counter(recipe.width, recipe.num_vectors) if recipe.reads_counts else None
        self.block = Block(recipe)
        self.project_out = nn.Linear(recipe.width, recipe.width)
        self.norm_out = nn.LayerNorm(recipe.width)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=recipe.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.counter is not None:
            self.counter.start_gate()
        if recipe.copying_start:
            self._start_near_identity()

    def _start_near_identity(self) -> None:
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
        return self.read(inputs_BTD, mask_BT).memory_BMD

    def read(self, inputs_BTD: Tensor, mask_BT: Tensor) -> Read:
        """Do as `forward`, and also tell what was attended to."""
        worth_BT = None
        if self.counter is not None:
            code_BTD, worth_BT = self.counter(inputs_BTD, mask_BT)
            inputs_BTD = inputs_BTD + code_BTD
        inputs_BTD = self.project_in(inputs_BTD)
        inputs = self.block.project_inputs(inputs_BTD, mask_BT)
        latents_BMD = self.latents_MD.to(inputs_BTD.dtype).expand(inputs_BTD.shape[0], -1, -1)
        weights_BHMT = inputs_BTD.new_zeros(())
        for _ in range(self.recipe.num_rounds):
            latents_BMD, weights_BHMT = self.block(latents_BMD, inputs)
        return Read(self.norm_out(self.project_out(latents_BMD)), weights_BHMT, worth_BT)
