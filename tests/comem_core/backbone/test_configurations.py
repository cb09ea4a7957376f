"""The configurations of published models that come with the library."""

import pytest

from comem_core.backbone.configurations import read_configuration


def test_a_published_configuration_has_its_shapes_and_may_be_changed():
    text = read_configuration("qwen2_5_vl_7b_instruct").get_text_config()
    assert (text.hidden_size, text.num_hidden_layers, text.vocab_size) == (3584, 28, 152064)
    changed = read_configuration("qwen2_5_vl_7b_instruct", num_hidden_layers=2, vision_config={"depth": 3})
    assert changed.get_text_config().num_hidden_layers == 2
    assert (changed.vision_config.depth, changed.vision_config.hidden_size) == (3, 1280)


def test_a_model_whose_configuration_is_not_here_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"'qwen_9'.* one of qwen2_5_vl_7b_instruct, qwen2_vl_7b_instruct"):
        read_configuration("qwen_9")
