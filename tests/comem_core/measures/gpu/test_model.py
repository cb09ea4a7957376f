"""The model that the GPU kit measures has the shape of the 7B, and the small one runs with finite numbers."""

import torch

from comem_core.measures.gpu.model import PATCHES, make_random_backbone
from comem_core.measures.gpu.setup import Setup
from comem_core.measures.gpu.workload import GAIN, RECIPE, WORKLOADS
from comem_core.recipes import find_recipe


def test_the_full_shape_is_the_7b_s_to_the_last_parameter():
    model = make_random_backbone(WORKLOADS["7b"], torch.device("meta")).model
    assert sum(weight.numel() for weight in model.parameters()) == 8_292_166_656
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert model.config.vision_config.patch_size == PATCHES["patch_size"] == 14
    assert model.config.get_text_config().initializer_range == GAIN / 3584**0.5


def test_the_full_workload_has_the_recipe_s_settings():
    recipe, workload = find_recipe(RECIPE), WORKLOADS["7b"]
    assert workload.batch_size == recipe.training.optimizer.batch_size == 16
    assert workload.items_per_sample == recipe.training.items_per_sample == 3
    assert (workload.item_tokens, workload.depths, workload.answer_batch) == (644, (3, 10, 50), 32)
    assert workload.num_items == 50


def test_items_have_their_length_where_they_are_encoded_and_in_a_prompt(setup: Setup):
    encoder, length = setup.encoder, setup.workload.item_tokens
    encoded = encoder.prepare_items(setup.encoded_items)
    prompts = [[encoder.prompts.make_item_turn(item)] for item in setup.prompt_items]
    in_prompt = encoder.prepare(prompts, generation=False)
    for lengths in (encoded.lengths, in_prompt.lengths):
        assert all(length <= each < length + 30 for each in lengths)  # a word may be written as many single bytes
    bounds = encoder.recipe.item_visual_tokens
    visual_B = (encoded.ids_BL == encoder.backbone.model.config.image_token_id).sum(dim=1)  # pyright: ignore[reportAttributeAccessIssue]
    assert bounds is not None and all(bounds.min <= each <= bounds.max for each in visual_B.tolist())


def test_memories_and_hidden_states_of_random_weights_are_finite_and_of_items_of_their_own(setup: Setup):
    memory_KMD = setup.memory_KMD
    assert memory_KMD.dtype == torch.bfloat16 and memory_KMD.isfinite().all()
    assert not torch.equal(memory_KMD[0], memory_KMD[1])


def test_every_sample_of_the_batch_shows_items_of_its_own(setup: Setup):
    samples = setup.make_samples()
    shown = [item.item_id for sample in samples for item in sample.items]
    assert len(samples) == setup.workload.batch_size
    assert len(set(shown)) == len(shown) == setup.workload.batch_size * setup.workload.items_per_sample
