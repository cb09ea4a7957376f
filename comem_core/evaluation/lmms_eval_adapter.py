"""The adapter for lmms-eval: reader, memory encoder and bank behind lmms-eval's model interface.

lmms-eval loads this module by the entry point `comem` of the group `lmms_eval.models`. Nothing else imports it, because
lmms-eval is not a dependency of this project. docs/other_programs.md explains how to install and call it.
"""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts  # pyright: ignore[reportMissingImports]
from lmms_eval.api.model import lmms  # pyright: ignore[reportMissingImports]
from lmms_eval.models.registry_v2 import ModelManifest  # pyright: ignore[reportMissingImports]
from PIL import Image
from tqdm.auto import tqdm

from comem_core.backbone.conversation import Generated
from comem_core.backbone.decoding import Decoding
from comem_core.backbone.images import convert_to_rgb
from comem_core.evaluation.outside_requests import ConditionOptions, OutsideRequest, open_answerer
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.encoder import MemoryEncoder

# The default of lmms-eval's own models where a task gives no limit.
MAX_NEW_TOKENS = 1024

MANIFEST = ModelManifest(model_id="comem", simple_class_path="comem_core.evaluation.lmms_eval_adapter.CoMEM")


class CoMEM(lmms):
    """One encoder under one condition. Every argument except batch size and device is a `model_args` of lmms-eval."""

    def __init__(
        self,
        encoder: str = "tiny-encoder",
        *,
        backbone: str | None = None,
        knowledge: str | None = None,
        bank: str | None = None,
        condition: str = "memory",
        k: int = 3,
        language: str = "en",
        same_language: bool = True,
        device: str = "cpu",
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
    ):
        """Load the encoder with its backbone, read the corpus, and load or make the bank.

        Raises:
            ValueError: the encoder, backbone or bank is missing or does not fit, or the batch size is not a number.
        """
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1 or max_batch_size is not None:
            raise ValueError(
                f"batch_size={batch_size}, max_batch_size={max_batch_size}; expected a number as batch_size and no "
                "max_batch_size"
            )
        self.batch_size = int(batch_size)
        loaded = MemoryEncoder.from_pretrained(str(encoder), backbone=backbone, device=device)
        options = ConditionOptions(condition=condition, k=k, language=language, same_language=same_language)
        self.answerer = open_answerer(loaded, options, knowledge=knowledge, bank=bank)

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answer requests in batches with equal settings; return the answers in the order of the requests."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True, default=str), []).append(place)
        answers: dict[int, GenerationResult] = {}
        with tqdm(total=len(requests), desc="comem", unit="request") as bar:
            for places in groups.values():
                for batch in cut_into_batches(places, self.batch_size):
                    answers |= zip(batch, self._answer([requests[place] for place in batch]), strict=True)
                    bar.update(len(batch))
        return [answers[place] for place in range(len(requests))]

    def _answer(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        settings = requests[0].args[1]
        generated = self.answerer.answer_batch(
            [self._request(request) for request in requests],
            max_new_tokens=int(settings.get("max_new_tokens") or MAX_NEW_TOKENS),
            decoding=read_decoding(settings),
        )
        results = [_make_result(each, read_stops(settings)) for each in generated]
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, result.text)
        return results

    def _request(self, request: Instance) -> OutsideRequest:
        context, _, pictures_of, doc_id, task, split = request.args
        pictures = pictures_of(self.task_dict[task][split][doc_id]) or []
        return OutsideRequest(
            name=f"{task} {split} {doc_id}",
            context=context.replace("<image>", "").strip(),
            pictures=tuple(encode_picture(picture) for picture in pictures),
        )

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("comem answers only generate_until tasks; this one asks for likelihoods")

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        raise NotImplementedError("comem answers only generate_until tasks; this one asks in several rounds")


def encode_picture(picture: object) -> bytes:
    """Encode a task's picture as PNG, without loss. Raises ValueError for anything else, such as a video."""
    if not isinstance(picture, Image.Image):
        raise ValueError(f"a task shows {type(picture).__name__}; comem reads only pictures (PIL.Image)")
    written = io.BytesIO()
    convert_to_rgb(picture).save(written, format="PNG")
    return written.getvalue()


def read_decoding(settings: Mapping[str, Any]) -> Decoding:
    """Read how a task wants its answers decoded: greedily, or sampled at a temperature.

    Raises:
        ValueError: the task asks for beam search, which this reader does not support.
    """
    if (settings.get("num_beams") or 1) > 1:
        raise ValueError(
            f"the task asks for {settings['num_beams']} beams; comem supports one: --gen_kwargs num_beams=1"
        )
    temperature = float(settings.get("temperature") or 0)
    if settings.get("do_sample") is False or temperature == 0:
        return Decoding()
    return Decoding(temperature=temperature, top_p=float(settings.get("top_p") or 1))


def read_stops(settings: Mapping[str, Any]) -> list[str]:
    """Return the texts at which an answer ends."""
    until = settings.get("until") or []
    return [until] if isinstance(until, str) else list(until)


def _make_result(generated: Generated, stops: Sequence[str]) -> GenerationResult:
    text = generated.text
    for stop in filter(None, stops):
        text = text.split(stop)[0]
    counts = TokenCounts(input_tokens=generated.prompt_tokens, output_tokens=generated.answer_tokens)
    return GenerationResult(text=text.strip(), token_counts=counts)
