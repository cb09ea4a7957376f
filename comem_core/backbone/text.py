"""Text-only language models as readers: the Qwen2.5 class, and Llama models that use ChatML (SmolLM2).

Shapes as in `interface`. Positions run on one axis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from comem_core.backbone.batches import Tokens
from comem_core.backbone.conversation import Conversation
from comem_core.backbone.markup import make_chatml
from comem_core.backbone.reader import Reader, load_model

MODEL_TYPES = ("qwen2", "llama")


class TextModel(Reader):
    """A text-only language model and its tokenizer."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, name: str):
        super().__init__(model, tokenizer, make_chatml(tokenizer, ()), name)

    @classmethod
    def load(cls, name_or_path: str | Path, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Self:
        """Load the model and its tokenizer from a local folder, or by name from the hub's cache.

        Raises:
            ValueError: the folder holds another kind of model, or its tokenizer lacks ChatML's marks.
        """
        cls.check(name_or_path)
        model = load_model(AutoModelForCausalLM, name_or_path, dtype=dtype, device=device)
        # Not AutoTokenizer: for some model types it replaces the splitter that tokenizer.json defines.
        return cls(model, PreTrainedTokenizerFast.from_pretrained(name_or_path), str(name_or_path))

    @staticmethod
    def check(name_or_path: str | Path) -> None:
        """Check the kind of a model by its config.json alone.

        Raises:
            ValueError: this class cannot read the model.
        """
        kind = AutoConfig.from_pretrained(name_or_path, trust_remote_code=False).model_type
        if kind not in MODEL_TYPES:
            raise ValueError(
                f"{name_or_path} is a {kind!r} model; a text-only reader is one of {', '.join(MODEL_TYPES)}"
            )

    def prepare(self, conversations: Sequence[Conversation], *, generation: bool) -> Tokens:
        """Run the real tokenizer and chat template.

        Raises:
            ValueError: a conversation holds a picture.
        """
        texts = []
        for row, conversation in enumerate(conversations):
            messages, images = self.markup.make_messages(conversation)
            if images:
                raise ValueError(
                    f"conversation {row} holds a picture, but {self.name} sees none: leave the picture out "
                    "(`without_pictures`), or encode it as an item without text and put its memory in front"
                )
            # Templates of text-only models take a turn's content as one string.
            plain = [each | {"content": "".join(part["text"] for part in each["content"])} for each in messages]
            texts.append(self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=generation))
        batch = self.tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        return self.make_tokens(batch, conversations)
