"""Turns items into memory: a backbone reads each item alone, and the Q-Former compresses what it read.

Subclasses decide how the backbone is adapted to reading items.

Shapes: B items, T tokens of the longest item, M vectors of an item, D width, E width of a picture's embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from operator import length_hint

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import rms_norm
from tqdm.auto import tqdm

from comem_core.backbone.batches import Tokens
from comem_core.backbone.images import decode
from comem_core.backbone.interface import Backbone
from comem_core.knowledge.index.vector_index import Hits
from comem_core.knowledge.items import KnowledgeItem, Question, check_inputs
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.bank import Bank
from comem_core.memory.bank_files.pictures import Picture
from comem_core.memory.packing import pack_by_tokens
from comem_core.memory.qformer import QFormer
from comem_core.memory.recipe import EncoderRecipe
from comem_core.prompts import read_prompt_set

# Tokens, padding included, that a CPU encodes at once: more fit into no cache. Measured on one core (docs/log.md).
CPU_TOKENS = 2048
# Rows and columns in which a picture's visual tokens are averaged for search; docs/log.md has the cost of fewer.
GRID = (3, 4)


class ItemEncoder(ABC):
    """Turns knowledge items into memory."""

    def __init__(self, backbone: Backbone, qformer: QFormer, recipe: EncoderRecipe):
        self.backbone, self.qformer, self.recipe = backbone, qformer, recipe
        self.prompts = read_prompt_set(recipe.prompts)

    @property
    @abstractmethod
    def encoder_id(self) -> str:
        """A hash of everything that decides a memory (16 hex digits)."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[None]:
        """Return a context in which the backbone reads items."""

    @contextmanager
    def run_inference(self) -> Iterator[None]:
        """Run without gradients and dropout, also during training."""
        trained = [part for part in (self.backbone.model, self.qformer) if part.training]
        for part in trained:
            part.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            for part in trained:
                part.train()

    def memory(self, items: Sequence[KnowledgeItem]) -> Tensor:
        """Encode items, each alone, with gradients if they are switched on: memory_BMD, in the backbone's dtype."""
        return self.read_items(self.prepare_items(items).to(self.backbone.device))

    def prepare_items(self, items: Sequence[KnowledgeItem]) -> Tokens:
        """Tokenise items with their pictures, on the CPU."""
        conversations = [self.prompts.make_item_conversation(item) for item in items]
        return self.backbone.prepare(conversations, generation=False, visual_tokens=self.recipe.item_visual_tokens)

    def read_items(self, tokens: Tokens) -> Tensor:
        """Encode tokenised items: memory_BMD (see `memory`)."""
        with self.reading():
            inputs_BTD = self.compute_inputs(tokens)
        return self.compress(inputs_BTD, tokens.mask_BL)

    def compute_inputs(self, tokens: Tokens) -> Tensor:
        """Read tokenised items with the backbone as it is switched; return what the Q-Former reads, (B, T, D)."""
        embedded = self.backbone.embed(tokens)
        hidden_BTD = self.backbone.hidden(embedded)
        if self.recipe.reads_embeddings:
            return scale_to_unit_rms(hidden_BTD) + scale_to_unit_rms(embedded.embeds_BLD)
        return hidden_BTD

    def compress(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Compress hidden states to memory_BMD, in their dtype. The Q-Former itself computes in float32."""
        return self.qformer(hidden_BTD.to(self.qformer.latents_MD.dtype), mask_BT).to(hidden_BTD.dtype)

    def empty_memory(self) -> Tensor:
        """Return vectors (M, D) that carry no item's content, for the control `empty`."""
        nothing = torch.zeros(1, 0, self.backbone.width, device=self.backbone.device, dtype=self.backbone.model.dtype)
        with self.run_inference():
            return self.compress(nothing, torch.zeros(1, 0, dtype=torch.bool, device=nothing.device))[0]

    def encode_batch(self, items: Sequence[KnowledgeItem]) -> Tensor:
        """Encode one batch of items without gradients: memory_BMD, in the backbone's dtype.

        A CPU reads items of like length together, in parts that fit into its cache; a GPU reads all of them at once.
        """
        with self.run_inference():
            tokens, device = self.prepare_items(items), self.backbone.device
            packed = pack_by_tokens(tokens.lengths, CPU_TOKENS if device.type == "cpu" else None)
            parts = [self.read_items(self.backbone.select(tokens, rows).to(device)) for rows in packed]
            return torch.cat(parts)[torch.tensor(list(chain.from_iterable(packed)), device=device).argsort()]

    def encode(
        self,
        items: Iterable[KnowledgeItem],
        *,
        into: Bank | None = None,
        batch_size: int = 16,
        grid: tuple[int, int] | None = GRID,
    ) -> Bank:
        """Encode any number of items into a bank, in batches and with a progress bar (`TQDM_DISABLE=1` hides it).

        Items are taken from any iterable, one batch at a time. Items already in the bank are skipped, so a bank given
        as `into` is extended, and an interrupted run can be resumed. `grid` is how the backbone's vision tower embeds
        pictures for search; None makes a smaller bank that cannot be searched.

        Raises:
            ValueError: `items` holds something else than items, `into` is another encoder's, or an item's picture
                cannot be read; the message names the item.
        """
        bank = self.make_bank(grid=grid) if into is None else into
        bank.refuse_other_encoder(self.encoder_id)
        seen: dict[str | None, np.ndarray] = {}
        with tqdm(total=length_hint(items, 0) or None, desc="encode", unit="item") as bar:
            for batch in cut_into_batches(check_inputs(items, KnowledgeItem), batch_size):
                new = list({item.item_id: item for item in batch if item.item_id not in bank}.values())
                if new:
                    self._encode_into(bank, new, seen)
                bar.update(len(batch))
        return bank

    def search(self, questions: Sequence[Question], bank: Bank, *, k: int, same_language: bool = True) -> list[Hits]:
        """Find the k items whose pictures are nearest to each question's, in its language or (if not) in all.

        Raises:
            ValueError: the bank holds no pictures or no item in a question's language, or k is less than 1.
        """
        if bank.grid is None:
            raise ValueError("this bank holds no pictures to search; name the items to show with item_ids=...")
        queries_BE = self.embed_pictures([question.image for question in questions], grid=bank.grid)
        languages = [question.language for question in questions] if same_language else None
        return bank.search(queries_BE, k=k, languages=languages)

    def make_bank(self, *, grid: tuple[int, int] | None = None, dtype: torch.dtype | None = None) -> Bank:
        """Make an empty bank for this encoder's memories, stored as `dtype` (None: the backbone's; see `Bank`)."""
        return Bank(
            encoder_id=self.encoder_id,
            num_vectors=self.recipe.num_vectors,
            width=self.backbone.width,
            dtype=dtype or self.backbone.model.dtype,
            grid=grid,
        )

    def _encode_into(self, bank: Bank, items: list[KnowledgeItem], seen: dict[str | None, np.ndarray]) -> None:
        try:
            memory_BMD, pictures = self.encode_batch(items), None
        except ValueError:
            refuse_unreadable(items)
            raise
        if bank.grid is not None:
            new = {item.image_id: item.picture for item in items if item.image_id not in seen}
            if new:
                seen.update(zip(new, self.embed_pictures(list(new.values()), grid=bank.grid), strict=True))
            pictures = [Picture(seen[item.image_id], item.language) for item in items]
        bank.put([item.item_id for item in items], memory_BMD, pictures=pictures)

    def embed_pictures(self, images: Sequence[bytes], *, grid: tuple[int, int]) -> np.ndarray:
        """Embed pictures for search, at an item picture's size, also those of questions: float32 (B, E)."""
        size = self.recipe.item_visual_tokens
        return self.backbone.pool_images(images, visual_tokens=size, grid=grid).cpu().numpy()


def scale_to_unit_rms(hidden_BTD: Tensor) -> Tensor:
    """Scale each vector to a root mean square of 1."""
    return rms_norm(hidden_BTD, hidden_BTD.shape[-1:], eps=1e-6)


def refuse_unreadable(items: Iterable[KnowledgeItem]) -> None:
    """Raise ValueError that names the first item whose picture cannot be read."""
    for item in items:
        try:
            if item.image is not None:
                decode(item.image)
        except ValueError as error:
            named = item.title or item.entity_id or item.source
            raise ValueError(f"item {item.item_id} ({named}): {error}; repair its picture, or leave it out") from error
