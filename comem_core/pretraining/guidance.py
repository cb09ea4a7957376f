"""Guides attention while the tiny base and its encoder's start are pretrained.

To answer about one of several items, a model must find the item with the question's picture. A model of this size does
not learn this on its own: it learns to read, and then guesses among the items (docs/log.md). So two heads of an early
layer are trained to gather the picture that precedes a text, and two heads of a later layer to look at the value that
answers. This is a loss on attention, in pretraining only; the model's class and its use stay the same.

Shapes: B conversations, L tokens, H heads, N answers, D width, E width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.pretraining.encoder_recipe import GuidanceRecipe

SMALLEST = 1e-4  # added to attention, so that the logarithm of a tiny attention does not dominate the loss


@dataclass(frozen=True)
class Places:
    """Answers of a batch: their rows, the places before their first tokens, and the tokens that state them, target_NL
    (bool)."""

    row_N: Tensor
    place_N: Tensor
    target_NL: Tensor


def start_matching(backbone: QwenVL, recipe: GuidanceRecipe) -> None:
    """Let queries and keys of the finding heads start alike, so that a token attends to similar tokens.

    Mimetic initialisation of W_q W_k (Trockman & Kolter 2023), in the slow half of the rotary frequencies: these rotate
    little over the length of a prompt, so that similarity does not depend on the distance.
    """
    layers: Any = backbone.model.model.language_model.layers  # pyright: ignore[reportAttributeAccessIssue]
    attention = layers[recipe.finding_layer].self_attn
    head_width, width = attention.head_dim, backbone.width
    slow_E = torch.arange(head_width) % (head_width // 2) >= head_width // 4
    drawn = torch.Generator().manual_seed(recipe.finding_layer)
    with torch.no_grad():
        for head in range(recipe.num_heads):
            alike_ED = torch.randn(head_width, width, generator=drawn) * recipe.matching_strength / width**0.5
            rows = slice(head * head_width, (head + 1) * head_width)
            for projection in (attention.q_proj, attention.k_proj):
                projection.weight[rows] = 0.5 * projection.weight[rows] + alike_ED * slow_E[:, None]


@dataclass(frozen=True)
class Watched:
    """A forward pass with its internals: last hidden states after the final norm, the attention of every layer
    (B, H, L, L), and the input of every layer, each (B, L, D)."""

    hidden_BLD: Tensor
    attentions: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]


def watch(backbone: QwenVL, embedded: Embedded) -> Watched:
    """Run the language model and keep its attention and hidden states."""
    body: Any = backbone.model.model
    body.language_model.set_attn_implementation("eager")  # the only one that returns its weights
    output = body(**backbone.inputs(embedded), use_cache=False, output_attentions=True, output_hidden_states=True)
    return Watched(output.last_hidden_state, output.attentions, output.hidden_states)


def compute_gathered(backbone: QwenVL, tokens: Tokens, watched: Watched, recipe: GuidanceRecipe) -> Tensor:
    """Return what the gathering heads add to a text that attends evenly to its row's picture: (B, D), no gradient.

    The finding heads recognise an item by this. `watched` may be longer than `tokens`; both are aligned at the right.
    """
    layers: Any = backbone.model.model.language_model.layers  # pyright: ignore[reportAttributeAccessIssue]
    layer, visual_BL = layers[recipe.gathering_layer], backbone.mark_pictures(tokens)
    width = recipe.num_heads * layer.self_attn.head_dim
    with torch.no_grad():
        seen_BLD = layer.input_layernorm(watched.inputs[recipe.gathering_layer][:, -tokens.ids_BL.shape[1] :])
        mean_BD = (seen_BLD * visual_BL[..., None]).sum(dim=1) / visual_BL.sum(dim=1, keepdim=True)
        values_BE = layer.self_attn.v_proj(mean_BD)[:, :width]
        return values_BE @ layer.self_attn.o_proj.weight[:, :width].T


def compute_guided_heads(attentions: Sequence[Tensor], layer: int, recipe: GuidanceRecipe) -> Tensor:
    """Return the attention of a layer's first heads (B, H, L, L).

    Raises:
        ValueError: the model has no such layer.
    """
    if layer >= len(attentions):
        raise ValueError(f"guidance names layer {layer}, counted from 0, but this model has {len(attentions)} layers")
    return attentions[layer][:, : recipe.num_heads]


def number_pictures_before(backbone: QwenVL, tokens: Tokens) -> Tensor:
    """Return for each token the number, from 1, of the last picture before it or of its own picture; 0 before the first
    picture: int64 (B, L)."""
    return _mark_starts(backbone.mark_pictures(tokens)).long().cumsum(dim=1)


def compute_gathering_loss(attention_BHLL: Tensor, backbone: QwenVL, tokens: Tokens) -> Tensor:
    """Return minus the log of the attention that each text token pays to the picture before it, mean in nats."""
    picture_BL, visual_BL = number_pictures_before(backbone, tokens), backbone.mark_pictures(tokens)
    own_BLL = (picture_BL[:, :, None] == picture_BL[:, None, :]) & visual_BL[:, None, :]
    text_BL = (picture_BL > 0) & ~visual_BL & tokens.mask_BL
    return _compute_minus_log((attention_BHLL.mean(dim=1) * own_BLL).sum(dim=-1)[text_BL])


def find_places_of_answers(backbone: QwenVL, tokens: Tokens, item_of_answer: Sequence[int]) -> Places:
    """Find the place of each answer in its item: `item_of_answer` numbers the item within the conversation, from 0.

    Answers whose first token does not occur in their item are left out.
    """
    row_N, start_N = _mark_starts(tokens.answer_BL).nonzero(as_tuple=True)
    picture_BL, visual_BL = number_pictures_before(backbone, tokens), backbone.mark_pictures(tokens)
    item_N = torch.tensor(item_of_answer, device=row_N.device) + 1
    target_NL = (
        (picture_BL[row_N] == item_N[:, None])
        & (tokens.ids_BL[row_N] == tokens.ids_BL[row_N, start_N][:, None])
        & ~visual_BL[row_N]
        & ~tokens.answer_BL[row_N]
    )
    stated_N = target_NL.any(dim=1)
    return Places(row_N[stated_N], start_N[stated_N] - 1, target_NL[stated_N])


def find_places_of_memories(
    tokens: Tokens, embedded: Embedded, about: Sequence[int | None], *, num_vectors: int
) -> Places:
    """Find the memory of the item that answers, one answer per row; rows whose item is unknown are left out.

    `embedded` has memories of `num_vectors` vectors each in front of `tokens`; both are aligned at the right.
    """
    first_B = _mark_starts(tokens.answer_BL).long().argmax(dim=1)
    padded, length = embedded.mask_BL.shape[1], tokens.ids_BL.shape[1]
    row_N = torch.tensor([row for row, place in enumerate(about) if place is not None], device=first_B.device)
    about_N = torch.tensor([place for place in about if place is not None], device=first_B.device)
    start_N = padded - embedded.mask_BL.sum(dim=1)[row_N] + about_N * num_vectors
    places_P = torch.arange(padded, device=first_B.device)
    target_NP = (places_P >= start_N[:, None]) & (places_P < start_N[:, None] + num_vectors)
    return Places(row_N, first_B[row_N] + padded - length - 1, target_NP)


def compute_finding_loss(attention_BHLL: Tensor, places: Places) -> Tensor:
    """Return minus the log of the attention from the place before each answer to its target, mean in nats."""
    looked_NL = attention_BHLL.mean(dim=1)[places.row_N, places.place_N]
    return _compute_minus_log((looked_NL * places.target_NL).sum(dim=-1))


def _mark_starts(mask_BL: Tensor) -> Tensor:
    """Mark where each run of marked places begins."""
    return mask_BL & ~torch.cat([torch.zeros_like(mask_BL[:, :1]), mask_BL[:, :-1]], dim=1)


def _compute_minus_log(share_N: Tensor) -> Tensor:
    return -(share_N + SMALLEST).log().mean()
