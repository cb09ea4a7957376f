"""How the next token is chosen: drawn as often as its probability says, by a row's own noise."""

from typing import Any

import pytest
import torch

from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.sampling import RowNoise, compute_row_seeds, make_processors


def test_tokens_are_drawn_as_often_as_their_probability_says():
    num_rows, scores_V = 20_000, torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0]).log()
    noise = RowNoise(range(num_rows))
    drawn_B = noise(torch.empty(num_rows, 0), scores_V.expand(num_rows, -1)).argmax(dim=-1)
    shares_V = torch.bincount(drawn_B, minlength=5) / num_rows
    assert shares_V[:4].tolist() == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.015)
    assert shares_V[4] == 0


def test_temperature_and_top_p_are_applied_before_the_draw():
    scores_V, num_rows = torch.tensor([2.0, 1.0, 0.0]), 4000

    def shares(decoding: Decoding) -> list[float]:
        scores = scores_V.expand(num_rows, -1).clone()
        for processor in make_processors(decoding, range(num_rows)):
            scores = processor(torch.empty(num_rows, 0, dtype=torch.int64), scores)
        return (torch.bincount(scores.argmax(dim=-1), minlength=3) / num_rows).tolist()

    assert shares(Decoding(temperature=2.0)) == pytest.approx((scores_V / 2).softmax(dim=0).tolist(), abs=0.03)
    cut = shares(Decoding(temperature=1.0, top_p=0.7))
    assert cut[2] == 0
    assert cut[0] == pytest.approx(float(torch.sigmoid(torch.tensor(1.0))), abs=0.03)
    assert not make_processors(GREEDY, [0])


def test_a_row_draws_the_same_alone_and_among_others_and_something_new_at_every_step():
    scores_BV, ids = torch.zeros(3, 1000), torch.empty(3, 0)
    among, alone = RowNoise([7, 8, 9]), RowNoise([8])
    first, second = (among(ids, scores_BV)[1] for _ in range(2))
    assert torch.equal(alone(ids[:1], scores_BV[:1])[0], first)
    assert torch.equal(alone(ids[:1], scores_BV[:1])[0], second)
    assert not torch.equal(first, second)


def test_a_rows_seed_is_its_prompts_and_ignores_padding():
    ids_BL, mask_BL = torch.tensor([[0, 5, 6], [4, 5, 6]]), torch.tensor([[False, True, True], [True, True, True]])
    padded, whole = compute_row_seeds(Decoding(seed=1), ids_BL, mask_BL)
    assert [padded] == compute_row_seeds(Decoding(seed=1), ids_BL[:1, 1:], mask_BL[:1, 1:])
    assert padded != whole
    assert padded not in compute_row_seeds(Decoding(seed=2), ids_BL, mask_BL)


def test_a_text_is_cut_at_the_first_of_the_texts_that_end_it():
    decoding = Decoding(stop=("\n\n", "Question:"))
    assert decoding.cut("Malmo\nQuestion: Who?\n\n") == "Malmo\n"
    assert decoding.cut("Malmo\n") is None and GREEDY.cut("Malmo\n\n") is None
    further = Decoding(temperature=0.5, stop=("#",)).stop_also_at(("\n", "#"))
    assert (further.stop, further.temperature) == (("#", "\n"), 0.5)
    assert further.make_greedy() == Decoding(stop=("#", "\n"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": -1.0}, "decoding with temperature -1.0"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p 0.0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty 0.0"),
        ({"top_p": 0.9}, "top_p 0.9 has no effect at temperature 0"),
        ({"stop": ("\n", "")}, "stop has an empty text"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        Decoding(**wrong)
