"""How the short answer is found in generated text."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comem_core.evaluation.answers import (
    cut_thinking,
    extract_answer,
    extract_question,
    find_boxed,
    find_first_line,
    is_refusal,
)
from comem_core.prompts import read_prompt_set


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Paris \n because it is", "Paris"),
        ("\n\n\t\nباريس", "باريس"),
        ("東京\r\n説明", "東京"),
        ("", ""),
        (" \n\t ", ""),
    ],
)
def test_the_first_line_with_content_is_the_answer(text: str, expected: str):
    assert find_first_line(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{Paris}.", "Paris"),
        (r"\boxed{Lyon}, no: \boxed{ Paris }", "Paris"),  # the last one counts
        (r"\boxed{x^{2}_{i}} done", "x^{2}_{i}"),  # braces inside
        (r"\boxed{Paris} and then \boxed{cut of", "Paris"),  # the last closed one
        (r"\boxed{}", ""),
        ("Paris", ""),
        (r"\boxed{Par", ""),
    ],
)
def test_the_last_closed_box_is_the_answer(text: str, expected: str):
    assert find_boxed(text) == expected


def test_without_a_box_there_is_no_answer_rather_than_a_guess():
    assert extract_answer("The answer is Paris", method="boxed") == ""
    assert extract_answer("The answer is Paris") == "The answer is Paris"


def test_an_unknown_method_names_the_allowed_ones():
    with pytest.raises(ValueError, match="first_line, boxed"):
        extract_answer("Paris", method="last_word")  # pyright: ignore[reportArgumentType]


THINKING = [
    ("<think>\n{thought}\n</think>\n\n", "tags"),
    ("{thought}</think>", "a closing tag alone"),
    ("<think>{thought}</think>{thought}</think>", "a second closing tag"),
    ("<Thinking>{thought}</Thinking>", "another tag"),
    ("<think></think>", "none"),
    ("[THINK]{thought}[/THINK]", "Mistral's"),
    ("◁think▷{thought}◁/think▷", "Kimi's"),
    ('<think type="deep">{thought}</think >', "tags with more in them"),
    ("<longcat_think>{thought}</longcat_think>", "a tag that names its model"),
    ("<analysis>{thought}</analysis>", "analysis"),
    ("<|begin_of_thought|>{thought}<|end_of_thought|>", "OpenThinker's"),
    ("<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant<|channel|>final<|message|>", "OpenAI's"),
]


@pytest.mark.parametrize("thinking", [form for form, _ in THINKING], ids=[name for _, name in THINKING])
def test_thinking_is_cut_before_anything_is_read(thinking: str):
    before = thinking.replace("{thought}", "Answer: Quito, or \\boxed{Quito}?\nQuestion: Quito?")
    assert extract_answer(f"{before}Lima") == "Lima"
    assert extract_answer(before + r"So \boxed{Lima}", method="boxed") == "Lima"
    assert extract_question(f"{before}Where is it?") == "Where is it?"
    assert extract_answer(before) == extract_answer(before, method="boxed") == ""


def test_thinking_that_never_ends_leaves_what_was_said_before_it():
    assert cut_thinking("Lima\n<think>or Quito") == "Lima\n"
    assert extract_answer(r"<think>\boxed{Quito}, or", method="boxed") == extract_answer("<think>Quito") == ""


MARKERS = read_prompt_set("reason").markers
FORMS = [
    "{word}: Lima", "**{word}:** Lima", "**{word}**: Lima", "**{word}: Lima**", "{word}:\nLima", "## {word}\n\nLima",
    "{word} : Lima", "{word}：Lima", "- {word}: Lima\n- It is the capital.", "It stands in a city.\n\n{word}: Lima",
    "```\n{word}: Lima\n```",
]  # fmt: skip


@pytest.mark.parametrize("language", MARKERS)
def test_an_answer_that_is_marked_as_one_is_read_in_every_language_of_the_prompts(language: str):
    for form, word in product(FORMS, MARKERS[language]["answer"]):
        for method in ("first_line", "boxed"):
            assert extract_answer(form.replace("{word}", word), method=method) == "Lima", (form, word, method)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Lima\nQuestion: Which river?\nAnswer: Rímac", "Lima"),  # it went on by itself
        ("Question: Which city?\nAnswer: Lima", "Lima"),  # it repeated the question
        ("Sure! Here is the answer:\n\nLima", "Lima"),
        ("<answer>\nLima\n</answer>", "Lima"),
        ("<answer>Lima", "Lima"),  # the end was where it should stop
        ("<REASONING>Quito?</REASONING><CONCLUSION>Lima</CONCLUSION>", "Lima"),
        ("**最终答案：** 利马", "利马"),
        ("【答案】利马", "利马"),
        ("Réponse finale : Lima", "Lima"),
        ("The answer:", "The answer:"),
        ("Unanswered: no", "Unanswered: no"),
    ],
)
def test_the_answer_to_the_question_is_read_and_no_other(text: str, answer: str):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "**Lima**", "*Lima*", "***Lima***", "__Lima__", "`Lima`", "```Lima```", "```text\nLima\n```", "# Lima",
        "~~~\nLima\n~~~", "```json\nLima\n```", "```\n**Lima**\n```", "<answer>```Lima```</answer>",
        "$Lima$",
        r"\boxed{Lima}", r"$\boxed{\text{Lima}}$", r"\[\boxed{\mathrm{Lima}}\]", r"\boxed{\textbf{\text{Lima}}}",
        r"**\boxed{Lima}**", r"\boxed{**Lima**}", r"\(\text{Lima}\)", r"\fbox{Lima}", r"\boxed {Lima}",
    ],
)  # fmt: skip
def test_markup_around_an_answer_is_taken_off(text: str):
    assert extract_answer(text) == "Lima"


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (r"50\%", "50%"), ("50%", "50%"), (r"\$5", "$5"), ("$5", "$5"), (r"R\&D", "R&D"), (r"1{,}000", "1,000"),
        (r"3.5\,\text{m}", "3.5 m"), (r"12^\circ\text{C}", "12°C"), (r"5\times 10^{-3}", "5× 10^-3"),
        (r"5\times10^{-3}", "5×10^-3"), ("10^{-3}", "10^-3"), (r"\pm5", "±5"), (r"\approx 5", "≈ 5"), (r"\leq5", "≤5"),
        (r"1\frac{1}{2}", "1 1/2"), (r"-2\frac12", "-2 1/2"), (r"\frac{1+2}{3x}", "(1+2)/(3x)"), (r"\sqrt{2}", "√2"),
        (r"\sqrt[3]{x+1}", "∛(x+1)"), (r"2\pi", "2π"), (r"\mu\text{m}", "μm"), (r"\mathrm{Ca^{2+}}", "Ca^2+"),
        (r"\ce{H2O}", "H2O"),
        (r"H_{2}O", "H₂O"), (r"\textcolor{red}{Lima}", "Lima"), ("$5^\\circ$C", "5°C"),
        (r"\left(2, -3\right)", "(2, -3)"), (r"\text{Answer: Lima}", "Lima"), (r"\text{答案：利马}", "利马"),
        (r"\unknown{5}", r"\unknown{5}"), (r"\frac{1}{2}", "1/2"),
        (r"\text{São Paulo}, \textit{Brasil}", "São Paulo, Brasil"), (r"a\_b", "a_b"),
    ],
)  # fmt: skip
def test_latex_in_a_box_is_read_as_it_is_shown(written: str, shown: str):
    assert extract_answer(rf"\boxed{{{written}}}", method="boxed") == shown


SIGNS = st.text(st.sampled_from("aZ5 .,-+−#%$&/°'()<>=éж中C"), min_size=1, max_size=12)


@given(SIGNS)
def test_an_answer_without_markup_is_kept_sign_by_sign(answer: str):
    kept = answer.strip()
    if not kept.startswith("# ") and not (kept.startswith("$") and kept.endswith("$")):
        assert extract_answer(answer) == kept
        assert extract_answer(rf"\boxed{{{answer}}}", method="boxed") == kept


def test_signs_that_only_look_like_markup_are_kept():
    for answer in ("C#", "C++", "2**3", "A*", "*nix", "snake_case_name", "#1", "AC\\DC", "Sagittarius A*", "50 % **"):
        assert extract_answer(answer) in (answer, answer.removesuffix(" **"))


def test_a_question_is_read_without_what_stands_around_it():
    for text in (
        "Where is it?",
        "**Question:** Where is it?",
        "Frage: Where is it?\nAntwort: Lima",
        "Here is a question:\n\nWhere is it?",
        "```\nWhere is it?\n```",
    ):
        assert extract_question(text) == "Where is it?"


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.", "I’m sorry, I cannot identify people.", "I cannot assist with this.",
        "As an AI model, I", "<think>A face?</think>**I am sorry, but I can't.**", "Unfortunately, I cannot tell.",
        "Es tut mir leid, aber das kann ich nicht sagen.", "Tut mir leid, ich kann nicht helfen.",
        "Je suis désolée, mais je ne peux pas.", "Lo siento, pero no puedo ayudar con eso.",
        "Desculpe, mas não posso ajudar com isso.", "Извините, но я не могу помочь.",
        "Съжалявам, но не мога да отговоря.",
        "抱歉，我无法回答这个问题。", "申し訳ありませんが、お答えできません。", "عذرًا، لا أستطيع المساعدة.",
        "معلش، مش هقدر أساعدك", "Paumanhin, hindi ko magagawa iyan.",
    ],
)  # fmt: skip
def test_a_refusal_is_recognised_in_the_languages_of_the_prompts(text: str):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Lima", "Sorry", "Sorry, Blame It on Me", "I Can't Help Myself", "Lo siento, mi amor", "Who is sorry?",
        "Désolé",
        "No puedo vivir sin ti", "I am sorry that I was late", "Unfortunately, Yours",
    ],
)  # fmt: skip
def test_an_answer_that_only_begins_like_a_refusal_is_an_answer(text: str):
    assert not is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "Lima<|im_end|>", "Lima<|eot_id|>\n", "Lima</s>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nLima<|eot_id|>",
        "<|im_start|>assistant\nLima<|im_end|>\n<|im_start|>user\nQuito",
        "Lima<｜end▁of▁sentence｜>", "Lima<end_of_turn>",
        "Answer: Lima<|return|>", "<|begin_of_box|>Lima<|end_of_box|>", "````\n```\nLima\n```\n````",
        '{"answer": "Lima"}', '```json\n{"reason": "Quito?", "final_answer": "Lima"}\n```',
    ],
)  # fmt: skip
def test_tokens_fences_and_json_around_an_answer_are_taken_off(text: str):
    assert extract_answer(text) == "Lima"


def test_a_number_in_json_is_kept_as_it_is_written_and_other_json_stays_whole():
    assert extract_answer('{"answer": 3.10}') == "3.10"
    for text in ('{"city": "Lima"}', '{"answer": ["Lima"]}', '{"answer": "Lima"', '{"answer": "a", "Antwort": "b"}'):
        assert extract_answer(text) == text
