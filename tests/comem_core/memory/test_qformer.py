"""The Q-Former against the paper's count, against a slow twin written from its description, and at its edges."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from comem_core.memory.qformer import QFormer, QFormerRecipe

SMALL = QFormerRecipe(width=64, num_heads=4)


def small_qformer(recipe: QFormerRecipe = SMALL, seed: int = 0) -> QFormer:
    """A Q-Former whose every weight is random, biases and norms too, so that each one shows in the output."""
    torch.manual_seed(seed)
    qformer = QFormer(recipe)
    with torch.no_grad():
        for weight in qformer.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return qformer


def naive_memory(weights: dict[str, Tensor], inputs_TD: Tensor, *, num_heads: int, num_rounds: int) -> Tensor:
    """One item, no padding, one head and one latent at a time: (M, D)."""

    def norm(values: Tensor, name: str) -> Tensor:
        return layer_norm(values, values.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    latents_MD = weights["latents_MD"]
    inputs_TD = inputs_TD @ weights["project_in.weight"].T + weights["project_in.bias"]
    width = latents_MD.shape[1]
    head_width = width // num_heads
    for _ in range(num_rounds):
        normed_MD = norm(latents_MD, "block.norm_latents")
        seen_SD = torch.cat([norm(inputs_TD, "block.norm_inputs"), normed_MD])
        query_MD = normed_MD @ weights["block.to_query.weight"].T
        key_SD = seen_SD @ weights["block.to_key_value.weight"][:width].T
        value_SD = seen_SD @ weights["block.to_key_value.weight"][width:].T
        attended_MD = torch.zeros_like(latents_MD)
        for head in range(num_heads):
            part = slice(head * head_width, (head + 1) * head_width)
            for row in range(len(latents_MD)):
                scores_S = torch.stack([query_MD[row, part] @ key[part] for key in key_SD]) / math.sqrt(head_width)
                shares_S = (scores_S - scores_S.max()).exp()
                shares_S = shares_S / shares_S.sum()
                attended_MD[row, part] = sum(
                    share * value[part] for share, value in zip(shares_S, value_SD, strict=True)
                )
        latents_MD = latents_MD + attended_MD @ weights["block.to_output.weight"].T
        inner = gelu(norm(latents_MD, "block.feed_forward.0") @ weights["block.feed_forward.1.weight"].T)
        latents_MD = latents_MD + inner @ weights["block.feed_forward.3.weight"].T
    return norm(latents_MD @ weights["project_out.weight"].T + weights["project_out.bias"], "norm_out")


@pytest.mark.parametrize(("width", "num_heads", "count"), [(3584, 16, 179_895_296), (64, 4, 58_496)])
def test_the_number_of_parameters_is_the_papers(width: int, num_heads: int, count: int):
    with torch.device("meta"):
        qformer = QFormer(QFormerRecipe(width=width, num_heads=num_heads))
    assert sum(weight.numel() for weight in qformer.parameters()) == count == 14 * width**2 + 18 * width


def test_a_slow_twin_written_from_the_description_gives_the_same_memory():
    qformer = small_qformer(QFormerRecipe(width=24, num_heads=3, num_vectors=5, num_rounds=3)).double()
    inputs_BTD = torch.randn(2, 7, 24, dtype=torch.float64)
    with torch.no_grad():
        twin_BMD = torch.stack(
            [naive_memory(qformer.state_dict(), each, num_heads=3, num_rounds=3) for each in inputs_BTD]
        )
        everything_BT = torch.ones(2, 7, dtype=torch.bool)
        torch.testing.assert_close(qformer(inputs_BTD, everything_BT), twin_BMD, rtol=1e-6, atol=1e-6)
        in_float32_BMD = qformer.float()(inputs_BTD.float(), everything_BT)
        torch.testing.assert_close(in_float32_BMD, twin_BMD.float(), rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_slow_twin_too():
    qformer = small_qformer(QFormerRecipe(width=12, num_heads=2, num_vectors=3, num_rounds=3)).double()
    inputs_BTD = torch.randn(1, 4, 12, dtype=torch.float64, requires_grad=True)
    own = dict(qformer.named_parameters())
    upstream_BMD = torch.randn(1, 3, 12, dtype=torch.float64)
    memory_BMD = qformer(inputs_BTD, torch.ones(1, 4, dtype=torch.bool))
    twin_BMD = naive_memory(own, inputs_BTD[0], num_heads=2, num_rounds=3)[None]  # pyright: ignore[reportArgumentType]
    wanted = [inputs_BTD, *own.values()]
    found = torch.autograd.grad((memory_BMD * upstream_BMD).sum(), wanted)
    expected = torch.autograd.grad((twin_BMD * upstream_BMD).sum(), wanted)
    for name, one, other in zip(["inputs", *own], found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_keys_and_values_of_the_inputs_are_computed_once_for_all_rounds():
    qformer, lengths = small_qformer(QFormerRecipe(width=64, num_heads=4, num_vectors=5, num_rounds=6)), []
    qformer.block.to_key_value.register_forward_hook(lambda *called: lengths.append(called[2].shape[1]))
    qformer(torch.randn(2, 30, 64), torch.ones(2, 30, dtype=torch.bool))
    assert lengths == [30] + [5] * 6


def test_latents_start_at_the_papers_scale_and_every_vector_leaves_at_the_norm_of_the_width():
    torch.manual_seed(0)
    qformer = QFormer(QFormerRecipe(width=256, num_heads=4, num_vectors=64))
    assert float(qformer.latents_MD.detach().std()) == pytest.approx(1 / math.sqrt(256), rel=0.05)
    memory_BMD = qformer(torch.randn(1, 5, 256), torch.ones(1, 5, dtype=torch.bool))
    assert memory_BMD.norm(dim=-1).flatten().tolist() == pytest.approx([math.sqrt(256)] * 64, rel=1e-2)


@pytest.mark.parametrize("garbage", [0.0, 1.0, 1e4])
def test_padding_never_changes_the_memory(garbage: float):
    qformer, inputs_BTD = small_qformer(), torch.randn(2, 6, 64)
    alone_BMD = qformer(inputs_BTD, torch.ones(2, 6, dtype=torch.bool))
    padding = garbage * torch.randn(2, 9, 64)
    mask_BT = torch.tensor([[False] * 9 + [True] * 6]).expand(2, -1)
    padded_BMD = qformer(torch.cat([padding, inputs_BTD], dim=1), mask_BT)
    torch.testing.assert_close(padded_BMD, alone_BMD, rtol=1e-5, atol=1e-5)


def test_an_item_is_not_changed_by_the_others_of_its_batch():
    qformer, inputs_BTD = small_qformer(), torch.randn(3, 6, 64)
    mask_BT = torch.tensor([[False] * hidden + [True] * (6 - hidden) for hidden in (0, 2, 5)])
    together_BMD = qformer(inputs_BTD, mask_BT)
    for row in range(3):
        alone_MD = qformer(inputs_BTD[row : row + 1, mask_BT[row]], mask_BT[row : row + 1, mask_BT[row]])[0]
        torch.testing.assert_close(together_BMD[row], alone_MD, rtol=1e-5, atol=1e-5)


def test_an_empty_item_gives_the_memory_of_nothing():
    qformer = small_qformer()
    nothing_MD = qformer(torch.zeros(1, 0, 64), torch.zeros(1, 0, dtype=torch.bool))[0]
    assert nothing_MD.shape == (8, 64)
    assert nothing_MD.isfinite().all()
    all_padding_MD = qformer(torch.randn(1, 4, 64), torch.zeros(1, 4, dtype=torch.bool))[0]
    torch.testing.assert_close(all_padding_MD, nothing_MD, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_that_would_overflow_unscaled_give_no_nan(dtype: torch.dtype):
    qformer, strength = small_qformer(), 70.0
    with torch.no_grad():
        qformer.block.to_query.weight.copy_(strength * torch.eye(64))
        qformer.block.to_key_value.weight[:64].copy_(strength * torch.eye(64))
    inputs_BTD, mask_BT = torch.randn(2, 40, 64), torch.tensor([[False] * 3 + [True] * 37] * 2)
    inside = qformer.block.norm_inputs(qformer.project_in(inputs_BTD)).view(2, 40, 4, 16) * strength
    assert (
        float((inside * inside).sum(dim=-1).max().detach()) > torch.finfo(torch.float16).max
    )  # q·k before the division
    memory_BMD = qformer.to(dtype)(inputs_BTD.to(dtype), mask_BT)
    assert memory_BMD.dtype == dtype
    assert memory_BMD.isfinite().all()


def test_gradients_reach_every_weight_and_every_visible_input_only():
    qformer, inputs_BTD = small_qformer(), torch.randn(1, 6, 64, requires_grad=True)
    mask_BT = torch.tensor([[False, False, True, True, True, True]])
    (qformer(inputs_BTD, mask_BT) * torch.randn(1, 8, 64)).sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in qformer.parameters())
    assert inputs_BTD.grad is not None
    assert (inputs_BTD.grad[0].abs().sum(dim=-1) > 0).tolist() == mask_BT[0].tolist()


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width 64 is not a multiple of its 5 heads"):
        QFormer(QFormerRecipe(width=64, num_heads=5))


COUNTING = QFormerRecipe(width=64, num_heads=4, num_rounds=2, reads_counts=True)


def open_gate(qformer: QFormer, *, worth: float) -> None:
    """Give every token the same worth, whatever it is."""
    assert qformer.counter is not None
    with torch.no_grad():
        qformer.counter.gate.weight.zero_()
        qformer.counter.gate.bias.fill_(math.log(worth / (1 - worth)))


def test_counts_are_the_running_sum_of_worths_scaled_to_the_vectors_and_coded_by_sines_and_cosines():
    qformer = small_qformer(COUNTING)
    assert qformer.counter is not None
    open_gate(qformer, worth=0.5)
    for length, scale in ((6, 1.0), (40, 8 / 20)):
        code_BTD, worth_BT = qformer.counter(torch.randn(1, length, 64), torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(worth_BT, torch.zeros(1, length))
        rates = [200 ** (-2 * number / 64) for number in range(32)]
        for place in range(length):
            count = 0.5 * (place + 1) * scale
            expected = [4 * math.sin(count * rate) for rate in rates] + [4 * math.cos(count * rate) for rate in rates]
            torch.testing.assert_close(code_BTD[0, place], torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_a_worth_is_that_of_a_token_and_the_one_before_it_alone():
    qformer = small_qformer(COUNTING)
    assert qformer.counter is not None
    inputs_BTD, mask_BT = torch.randn(1, 9, 64), torch.ones(1, 9, dtype=torch.bool)
    before_BT = qformer.counter(inputs_BTD, mask_BT)[1]
    inputs_BTD[0, 4] += 1.0
    changed = (qformer.counter(inputs_BTD, mask_BT)[1] - before_BT).abs() > 1e-6
    assert changed[0].nonzero().flatten().tolist() == [4, 5]


@pytest.mark.parametrize("garbage", [0.0, 1e4])
def test_padding_is_not_counted_and_changes_no_memory_on_either_side(garbage: float):
    qformer = small_qformer(COUNTING)
    inputs_BTD, nothing = torch.randn(1, 7, 64), torch.full((1, 5, 64), garbage)
    own, out = torch.ones(1, 7, dtype=torch.bool), torch.zeros(1, 5, dtype=torch.bool)
    alone = qformer(inputs_BTD, own)
    for inputs, mask in (((nothing, inputs_BTD), (out, own)), ((inputs_BTD, nothing), (own, out))):
        torch.testing.assert_close(
            qformer(torch.cat(inputs, dim=1), torch.cat(mask, dim=1)), alone, rtol=1e-4, atol=1e-4
        )


def test_with_counts_the_memory_knows_the_order_of_tokens_and_without_it_does_not():
    inputs_BTD, mask_BT = torch.randn(1, 7, 64), torch.ones(1, 7, dtype=torch.bool)
    for recipe, differs in ((COUNTING, True), (SMALL, False)):
        qformer = small_qformer(recipe)
        apart = (qformer(inputs_BTD, mask_BT) - qformer(inputs_BTD.flip(1), mask_BT)).abs().max()
        assert (apart > 1e-2) == differs


def test_a_gate_starts_with_one_worth_for_all_and_every_weight_of_it_is_trained():
    qformer = QFormer(COUNTING)
    assert qformer.counter is not None
    inputs_BTD, mask_BT = torch.randn(2, 7, 64), torch.ones(2, 7, dtype=torch.bool)
    worth_BT = qformer.counter(inputs_BTD, mask_BT)[1]
    torch.testing.assert_close(worth_BT, torch.full((2, 7), -1.0))
    qformer = small_qformer(COUNTING)
    qformer(inputs_BTD, mask_BT).square().sum().backward()
    assert qformer.counter is not None
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in qformer.counter.parameters())


def test_an_item_without_tokens_has_a_memory_with_counts_too():
    qformer = small_qformer(COUNTING)
    memory_BMD = qformer(torch.zeros(1, 0, 64), torch.zeros(1, 0, dtype=torch.bool))
    assert memory_BMD.shape == (1, 8, 64) and torch.isfinite(memory_BMD).all()


def test_the_weights_of_the_last_round_are_told():
    qformer = small_qformer(COUNTING)
    inputs_BTD, mask_BT = torch.randn(2, 7, 64), torch.ones(2, 7, dtype=torch.bool)
    mask_BT[1, :3] = False
    read = qformer.read(inputs_BTD, mask_BT)
    assert read.weights_BHMT.shape == (2, 4, 8, 7)
    assert float(read.weights_BHMT[1, :, :, :3].detach().abs().max()) == 0.0
    assert bool((read.weights_BHMT.sum(dim=-1) < 1).all()), "the rest is what latents attend to among themselves"
