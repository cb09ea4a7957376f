"""Runs torch code on shapes alone, and counts the bytes that its tensors would hold.

Tensors of the meta device have a shape and no data, so a model of any size runs in seconds and in no memory. What
decides shapes elsewhere must be known: while `CountedShapes` is entered, tensors of whole numbers and of truth values
stay on the CPU with their data, and meta tensors take them as if they were on the same device.
"""

import weakref
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "comem_shapes"
META = torch.device("meta")
aten: Any = torch.ops.aten
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)


class UnknownShape(ValueError):
    """A shape depends on values that only a real computation has."""


class CountedBytes(TorchDispatchMode):
    """Counts the bytes of a device's tensors that are alive at once: `live` now, and `peak` so far.

    What comes to be while this is entered is counted until the last tensor of its storage is gone, in autograd's
    backward pass too.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device, self.live, self.peak = device, 0, 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = self.compute(func, args, dict(kwargs or {}))
        self.count(each for each in tree_leaves(out) if isinstance(each, Tensor))
        return out

    def compute(self, func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Compute one operation."""
        return func(*args, **options)

    def count(self, tensors: Iterable[Tensor]) -> None:
        """Count the device's tensors among some that came to be."""
        for storage in (each.untyped_storage() for each in tensors if each.device == self.device):
            key = storage._cdata
            if key not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


class CountedShapes(CountedBytes):
    """Counts the bytes that meta tensors would hold.

    A number that is read from a meta tensor is 1, and a computed mask of rows chooses all of them; one of more
    dimensions raises UnknownShape.
    """

    def __init__(self) -> None:
        super().__init__(META)

    def compute(self, func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        tensors = [each for each in tree_leaves((args, options)) if isinstance(each, Tensor)]
        if any(each.device == META for each in tensors):
            return _run_on_meta(func, args, options)
        return _run_with_data(func, args, options, tensors)


def _run_on_meta(func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    if func is aten._local_scalar_dense.default:
        return torch.ones((), dtype=args[0].dtype).item()
    target = options.get("device")
    if func is aten._to_copy.default and target is not None and torch.device(target) != META:
        return torch.ones(args[0].shape, dtype=options.get("dtype") or args[0].dtype)
    if func is aten.copy_.default and args[0].device != META:
        return args[0]
    if func in INDEXED:  # a mask chooses as many as are True
        args = (args[0], [place for each in args[1] for place in _locate(each)], *args[2:])
    if (known := _find_operation(func, args, options)) is None:
        return func(*tree_map_only(Tensor, _drop_data, args), **tree_map_only(Tensor, _drop_data, options))
    if known not in _MADE:
        out = func(*tree_map_only(Tensor, _drop_data, args), **tree_map_only(Tensor, _drop_data, options))
        _MADE[known] = tree_map_only(Tensor, _Layout.of, out)
    made = _MADE[known]
    return made.make() if isinstance(made, _Layout) else tree_map_only(_Layout, _Layout.make, made)


@dataclass(frozen=True)
class _Layout:
    """What a tensor of the meta device is."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> "_Layout":
        return cls(tensor.shape, tensor.stride(), tensor.dtype)

    def make(self) -> Tensor:
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=META)


_MADE: dict[Hashable, Any] = {}
"""The layouts of results by operation: torch works out many of them in Python, the same ones for each layer."""


def _find_operation(func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Hashable | None:
    """Return what decides the layout of an operation's results; None if they share memory with what is given."""
    schema = func._schema
    if schema.is_mutable or any(each.alias_info is not None for each in schema.returns):
        return None
    return func, tuple(map(_describe, args)), tuple((name, _describe(each)) for name, each in options.items())


def _describe(given: Any) -> Hashable:
    if isinstance(given, Tensor):
        return given.shape, given.stride(), given.dtype
    return tuple(map(_describe, given)) if isinstance(given, list | tuple) else (type(given), given)


def _run_with_data(func: Any, args: tuple[Any, ...], options: dict[str, Any], tensors: Sequence[Tensor]) -> Any:
    target = options.get("device")
    if target is not None and torch.device(target) == META:
        dtype = options.get("dtype") or (tensors[0].dtype if tensors else None)
        numbers = [each for each in args if isinstance(each, int | float) and not isinstance(each, bool)]
        if dtype is None and "arange" in func.name() and all(isinstance(each, int) for each in numbers):
            dtype = torch.int64
        if dtype is not None and not dtype.is_floating_point:
            options |= {"device": torch.device("cpu")}
    return func(*args, **options)


def _locate(index: Tensor | None) -> Sequence[Tensor | None]:
    if index is None or index.dtype != torch.bool:
        return [index]
    if index.device != META:
        return index.nonzero(as_tuple=True)
    if index.ndim > 1:
        raise UnknownShape("how many values a computed mask chooses cannot be known from shapes")
    return [torch.arange(len(index))]  # as of Idefics3's pictures, of which it leaves out those that are padding


def _drop_data(tensor: Tensor) -> Tensor:
    if tensor.device == META:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


class _FusedAttention(TorchFunctionMode):
    """Computes attention of meta tensors by a fused kernel, as devices do; torch would take the plain formula, which
    keeps the scores of all pairs of tokens."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            return _attend(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(repeats, -3), value.repeat_interleave(repeats, -3)
    if attn_mask is not None:  # kernels take what is added to the scores
        attn_mask = torch.empty(attn_mask.shape, dtype=query.dtype, device=META)
    fused = aten._scaled_dot_product_flash_attention_for_cpu
    return fused(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]


def _attend_fused(*args: Any, **kwargs: Any) -> Any:
    with _FusedAttention():  # here, so that a layer that is computed again in the backward pass has it too
        return sdpa_attention_forward(*args, **kwargs)


def switch_to_fused_attention(model: Any) -> None:
    """Let a transformers model on the meta device compute its attention as by a fused kernel."""
    AttentionInterface.register(ATTENTION, _attend_fused)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)


class _Quantized(torch.autograd.Function):
    """Holds what a quantised layer does besides: for a moment its whole weight, and in some kinds its input."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, given: Tensor, weight: Tensor, keeps_input: bool) -> Tensor:
        torch.empty_like(weight)
        ctx.weight, ctx.given = weight, given if keeps_input else None
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        torch.empty_like(ctx.weight)
        return gradients[0], None, None, None


def compute_as_quantized(layer: nn.Linear, *, keeps_input: bool) -> None:
    """Let a linear layer of the meta device take the memory of a quantised one in its passes; its weight stays whole.

    bitsandbytes makes the weight whole for a moment, and keeps the input of an int8 layer for the backward pass.
    """

    def hold(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return _Quantized.apply(out, given[0], layer.weight, keeps_input)  # pyright: ignore[reportReturnType]

    layer.register_forward_hook(hold)
