"""A server that reads memories as vLLM does: it splices embeddings where its chat template prints them."""

import base64
import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from comem_core.backbone.batches import Embedded
from comem_core.backbone.decoding import Decoding
from comem_core.backbone.interface import Backbone

SPLICE = "<prompt_embeds>"  # what vLLM's templates see in place of embeddings


@dataclass
class SplicingServer:
    """Answers chat requests with a backbone; `template` decides where embeddings go. Requests are kept in `seen`."""

    backbone: Backbone
    template: str
    version: str = "0.0.7"
    faults: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def embed(self, messages: Sequence[Mapping[str, Any]]) -> Embedded:
        """Read a request as vLLM does: the embeddings go where the template printed their mark."""
        vectors: list[Tensor] = []
        pictures: list[Image.Image] = []
        rendered = [
            {"role": turn["role"], "content": [self._read(part, vectors, pictures) for part in turn["content"]]}
            for turn in messages
        ]
        processor: Any = self.backbone.processor
        text = processor.tokenizer.apply_chat_template(
            rendered, chat_template=self.template, tokenize=False, add_generation_prompt=True
        )
        before, *after = text.split(SPLICE)
        assert len(after) == len(vectors)
        batch = processor(text=[before + "".join(after)], images=pictures or None, return_tensors="pt")
        tokens = self.backbone.make_tokens(batch, [[]], ("pixel_values", "image_grid_thw", "mm_token_type_ids"))
        whole = self.backbone.embed(tokens)
        if not vectors:
            return whole
        [memory_VD], place = vectors, len(processor.tokenizer(before, add_special_tokens=False)["input_ids"])
        own = torch.arange(len(memory_VD)) + place
        positions = whole.positions_3BL
        embeds = whole.embeds_BLD
        return Embedded(
            torch.cat([embeds[:, :place], memory_VD[None].to(embeds), embeds[:, place:]], dim=1),
            torch.ones(1, embeds.shape[1] + len(memory_VD), dtype=torch.bool),
            torch.cat([positions[..., :place], own.expand(3, 1, -1), positions[..., place:] + len(memory_VD)], dim=2),
        )

    def _read(self, part: Any, vectors: list[Tensor], pictures: list[Image.Image]) -> dict[str, str]:
        match part:
            case {"type": "prompt_embeds", "data": data}:
                vectors.append(torch.load(io.BytesIO(base64.b64decode(data)), weights_only=True))
                return {"type": "text", "text": SPLICE}
            case {"type": "image_url", "image_url": {"url": url}}:
                pictures.append(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
                return {"type": "image"}
        return {"type": "text", "text": part["text"]}

    def score(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self.lock, torch.inference_mode(), self.backbone.switch_adapter(False):
            hidden = self.backbone.hidden(self.embed(request["messages"]))
            best = self.backbone.logits(hidden[0, -1]).log_softmax(-1).topk(request["top_logprobs"])
        tops = [
            {"token": self.backbone.tokenizer.decode([int(token)]), "logprob": float(value), "bytes": None}
            for value, token in zip(best.values, best.indices, strict=True)
        ]
        first = tops[0] | {"top_logprobs": tops}
        return self._wrap({"message": {"role": "assistant", "content": ""}, "logprobs": {"content": [first]}})

    def complete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        with self.lock, torch.inference_mode(), self.backbone.switch_adapter(False):
            embedded = self.embed(request["messages"])
            [(text, length, truncated)] = self.backbone.generate(
                embedded, max_new_tokens=request["max_tokens"], decoding=Decoding(stop=tuple(request.get("stop") or ()))
            )
        said = {"message": {"role": "assistant", "content": text}, "finish_reason": "length" if truncated else "stop"}
        usage = {"prompt_tokens": embedded.mask_BL.shape[1], "completion_tokens": length + (not truncated)}
        return self._wrap(said) | {"usage": usage}

    @staticmethod
    def _wrap(choice: Mapping[str, Any]) -> dict[str, Any]:
        shared = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        return shared | {"choices": [{"index": 0, "finish_reason": "stop"} | dict(choice)]}


def _make_handler(server: SplicingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None: ...

        def do_GET(self) -> None:
            models = [{"id": "m", "object": "model", "created": 0, "owned_by": "vllm", "max_model_len": 512}]
            self._send({"/version": {"version": server.version}, "/v1/models": {"object": "list", "data": models}})

        def _send(self, answers: Mapping[str, Any]) -> None:
            status, said = server.faults.get(self.path, (200, ""))
            body = json.dumps({"error": {"message": said}} if said else answers.get(self.path)).encode()
            self.send_response(status if said or self.path in answers else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.seen.append(request)
            answer = server.score if request.get("logprobs") else server.complete
            self._send({} if self.path in server.faults else {self.path: answer(request)})

    return Handler


@contextmanager
def run_server(server: SplicingServer) -> Iterator[str]:
    """Run the server on loopback, and return its address."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(server))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}"
    finally:
        http.shutdown()
        http.server_close()
