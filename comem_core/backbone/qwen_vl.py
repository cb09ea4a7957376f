"""Qwen2-VL and Qwen2.5-VL behind the interface, through their real transformers classes.

Shapes as in `interface`. Videos are not used, so the processor is built without its video part, which needs
torchvision. Pictures go through the family's own image processor (Pillow backend) and chat template.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel, ProcessorMixin
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.conversation import Conversation
from comem_core.backbone.images import VisualTokens, decode, fit
from comem_core.backbone.interface import Backbone, Family
from comem_core.backbone.markup import TURN_END as TURN_END
from comem_core.backbone.markup import TURN_START as TURN_START
from comem_core.backbone.markup import make_chatml
from comem_core.backbone.reader import load_model

IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
MARKS = (IMAGE_TOKEN, VIDEO_TOKEN, VISION_START, VISION_END)
PICTURE_TENSORS = ("pixel_values", "image_grid_thw", "mm_token_type_ids")
# What a saved picture processor and the video processor beside it have in common.
VIDEO_FILE = "video_preprocessor_config.json"
SHARED_WITH_VIDEOS = ("patch_size", "merge_size", "temporal_patch_size", "image_mean", "image_std")


def drop_videos(family: type[ProcessorMixin], *, videos: str = "Qwen2VLVideoProcessor") -> type[ProcessorMixin]:
    """Return a Qwen processor class for pictures and text only; the family's own class also opens what it saves.

    `videos` names the family's video processor: `AutoProcessor` and vLLM need its settings beside the others.
    """

    class ImageProcessor(family):
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **_: Any
        ):
            self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
            self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
            self.video_token_id = tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

        def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **options: Any) -> Any:
            saved = super().save_pretrained(save_directory, push_to_hub, **options)
            pictures: Any = getattr(self, "image_processor")  # noqa: B009 (set by ProcessorMixin)
            shared = {name: getattr(pictures, name) for name in SHARED_WITH_VIDEOS}
            settings = {"video_processor_type": videos} | shared
            Path(save_directory, VIDEO_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
            return saved

    ImageProcessor.__name__ = family.__name__  # a saved folder records this name as its processor
    return ImageProcessor


QwenImageProcessor = drop_videos(Qwen2_5_VLProcessor)


class QwenVL(Backbone):
    """A Qwen2-VL or Qwen2.5-VL model. `PROCESSORS` maps each `model_type` to its processor."""

    PROCESSORS: Mapping[str, type[ProcessorMixin]] = {
        "qwen2_vl": drop_videos(Qwen2VLProcessor),
        "qwen2_5_vl": QwenImageProcessor,
    }

    def __init__(self, model: PreTrainedModel, processor: Any, name: str):
        self.processor = processor
        super().__init__(model, processor.tokenizer, make_chatml(processor.tokenizer, MARKS), name)

    @classmethod
    def load(cls, name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Self:
        """Load the model and its processor from a local folder, or by name from the hub's cache."""
        model = load_model(AutoModelForImageTextToText, name_or_path, dtype=dtype, device=device)
        processor = cls.PROCESSORS[model.config.model_type].from_pretrained(name_or_path)
        return cls(model, processor, str(name_or_path))

    def prepare(
        self, conversations: Sequence[Conversation], *, generation: bool, visual_tokens: VisualTokens | None = None
    ) -> Tokens:
        texts, images = [], []
        for conversation in conversations:
            messages, own = self.markup.make_messages(conversation)
            texts.append(self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))
            images += own
        pictures, size = self._fit_pictures(images, visual_tokens)
        batch = self.processor(
            text=texts,
            images=pictures or None,
            images_kwargs={"size": size},
            padding=True,
            add_special_tokens=False,  # the template has written them
            return_tensors="pt",
        )
        return self.make_tokens(batch, conversations, PICTURE_TENSORS)

    def select(self, tokens: Tokens, rows: Sequence[int]) -> Tokens:
        chosen = super().select(tokens, rows)
        if "pixel_values" not in tokens.images:
            return chosen
        grids_N3, kinds_BL = tokens.images["image_grid_thw"], tokens.images["mm_token_type_ids"]
        patches = tokens.images["pixel_values"].split(grids_N3.prod(dim=1).tolist())
        pictures = torch.arange(len(patches)).split(self._count_pictures(tokens))
        own = torch.cat([pictures[row] for row in rows])
        if not len(own):
            return chosen
        images = {
            "pixel_values": torch.cat([patches[picture] for picture in own.tolist()]),
            "image_grid_thw": grids_N3[own],
            "mm_token_type_ids": kinds_BL[rows, kinds_BL.shape[1] - chosen.ids_BL.shape[1] :],
        }
        return replace(chosen, images=images)

    def _count_pictures(self, tokens: Tokens) -> list[int]:
        """Return the number of pictures of each conversation; each begins with a mark of its own."""
        begins_BL = tokens.ids_BL == self.tokenizer.convert_tokens_to_ids(VISION_START)
        return begins_BL.sum(dim=1).tolist()

    def fit_pictures(self, images: Sequence[bytes], *, visual_tokens: VisualTokens | None = None) -> list[Image.Image]:
        return self._fit_pictures(images, visual_tokens)[0]

    def _fit_pictures(
        self, images: Sequence[bytes], visual_tokens: VisualTokens | None
    ) -> tuple[list[Image.Image], dict[str, int]]:
        """Decode pictures and resize them to their visual tokens; also return processor bounds that keep that size."""
        processor: Any = self.processor.image_processor
        pictures, bounds = [decode(image) for image in images], dict(processor.size)
        if visual_tokens is None:
            return pictures, {name: bounds[name] for name in ("shortest_edge", "longest_edge")}
        # The processor's own rounding exceeds the cap if a picture is very long or the bounds are narrow.
        side = processor.patch_size * processor.merge_size
        most = min(visual_tokens.max, bounds["longest_edge"] // side**2)
        allowed = VisualTokens(min=min(visual_tokens.min, most), max=most)
        fitted = [fit(picture, allowed, side=side) for picture in pictures]
        return fitted, {"shortest_edge": side**2, "longest_edge": most * side**2}

    @property
    def turn_end_ids(self) -> Tensor:
        """The ids of the end token and the newline: supervised, but not part of an answer's content."""
        return torch.tensor([self.markup.end, *self.markup.newline], device=self.device)

    def mark_text(self, tokens: Tokens) -> Tensor:
        """Mark every token that is neither padding nor a visual token: bool (B, L)."""
        return tokens.mask_BL & ~self.mark_pictures(tokens)

    def mark_pictures(self, tokens: Tokens) -> Tensor:
        """Mark the visual tokens: bool (B, L)."""
        return tokens.ids_BL == self.processor.image_token_id

    def compute_image_features(self, tokens: Tokens) -> tuple[Tensor, ...]:
        """Return the visual tokens of each picture in reading order: a tuple of (tokens, D)."""
        return self.see(tokens.images).pooler_output

    def cut_into_grids(self, features: Sequence[Tensor], tokens: Tokens) -> list[Tensor]:
        """Reshape each picture's visual tokens from (tokens, D) to a grid (rows, columns, D)."""
        processor: Any = self.processor.image_processor
        shapes = (tokens.images["image_grid_thw"][:, 1:] // processor.merge_size).tolist()
        return [visual.reshape(*shape, -1) for visual, shape in zip(features, shapes, strict=True)]

    def see(self, images: Mapping[str, Tensor]) -> Any:
        """Run the vision tower."""
        body: Any = self.model.model
        return body.get_image_features(images["pixel_values"], images["image_grid_thw"])

    def embed(self, tokens: Tokens, features: Sequence[Tensor] | None = None) -> Embedded:
        if "pixel_values" not in tokens.images:
            return super().embed(tokens)
        features = self.compute_image_features(tokens) if features is None else features
        embeds_BLD = self.model.get_input_embeddings()(tokens.ids_BL)
        visual_PD = torch.cat(list(features)).to(embeds_BLD.dtype)
        embeds_BLD = embeds_BLD.masked_scatter(self.mark_pictures(tokens)[..., None], visual_PD)
        body: Any = self.model.model
        positions_3BL, _ = body.get_rope_index(
            tokens.ids_BL,
            mm_token_type_ids=tokens.images["mm_token_type_ids"],
            image_grid_thw=tokens.images["image_grid_thw"],
            attention_mask=tokens.mask_BL.long(),
        )
        return Embedded(embeds_BLD, tokens.mask_BL, positions_3BL)

    def inputs(self, embedded: Embedded) -> dict[str, Any]:
        return super().inputs(embedded) | {"position_ids": embedded.positions_3BL}

    def compute_visual_grids(
        self, images: Sequence[bytes], *, visual_tokens: VisualTokens | None = None
    ) -> list[Tensor]:
        processor: Any = self.processor.image_processor
        pictures, size = self._fit_pictures(images, visual_tokens)
        batch = processor(images=pictures, size=size, return_tensors="pt").to(self.device)
        shapes = (batch["image_grid_thw"][:, 1:] // processor.merge_size).tolist()
        return [visual.reshape(*shape, -1) for visual, shape in zip(self.see(batch).pooler_output, shapes, strict=True)]


FAMILY = Family(name="qwen_vl", model_types=tuple(QwenVL.PROCESSORS), backbone=QwenVL)
