"""Languages are told apart on real questions; what is short or mixed stays unknown, and contradicts nothing."""

import json
from pathlib import Path

import pytest

from comem_core.knowledge.file_languages import Guesser
from comem_core.knowledge.languages import (
    UNKNOWN,
    Identified,
    identify_language,
    identify_language_as_declared,
    is_language,
    is_same_language,
    normalise_tag,
    read_language,
    read_primary_code,
)
from comem_core.worlds.countries.world import LANGUAGES, read_templates
from tests.languages import MANY, list_texts, list_words

SENTENCES = {
    "bg": "Коя река минава през града, в който се намира тази сграда?",
    "zh": "流经这座建筑所在城市的河流叫什么名字？",
    "ar": "ما اسم النهر الذي يمر عبر المدينة التي يقع فيها هذا المبنى؟",
    "fil": "Anong ilog ang dumadaan sa lungsod kung saan matatagpuan ang gusaling ito?",
    "fr": "Quel fleuve traverse la ville où se trouve ce bâtiment ?",
    "ja": "この建物がある都市を流れる川の名前は何ですか？",
    "pt": "Qual rio passa pela cidade onde fica este edifício e não foi mencionado?",
    "ru": "Какая река протекает через город, в котором находится это здание?",
    "es": "¿Qué río pasa por la ciudad donde se encuentra este edificio?",
    "en": "Which river runs through the city in which this building stands?",
    "ko": "이 건물이 있는 도시를 지나는 강의 이름은 무엇입니까?",
    "th": "แม่น้ำสายใดไหลผ่านเมืองที่อาคารนี้ตั้งอยู่",
    "de": "Welcher Fluss fließt durch die Stadt, in der dieses Gebäude steht?",
    "hi": "जिस शहर में यह इमारत स्थित है, उससे होकर कौन सी नदी बहती है?",
}
INFOSEEK = Path(__file__).parents[3] / "../shared/fixtures/infoseek"
FILES = {"en": "", "bg": "_bulgarian", "zh": "_chinese", "pt": "_portuguese", "ru": "_russian", "es": "_spanish"}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_identified_with_certainty(language: str) -> None:
    found = identify_language(SENTENCES[language])
    assert found.language == language and found.certainty >= 0.6


def test_egyptian_arabic_is_arabic_and_filipino_is_tagalog() -> None:
    egyptian = identify_language("ايه اسم النهر اللي بيعدي في المدينة اللي فيها المبنى ده؟")
    assert egyptian.language == "ar"
    for first, second in [("arz", egyptian.language), ("fil", "tl"), ("pt-BR", "pt"), ("zh_Hant", "zh"), ("EN", "en")]:
        assert is_same_language(first, second) and is_same_language(second, first)
    assert not is_same_language("bg", "ru") and not is_same_language("pt", "es") and not is_same_language("ja", "zh")


def test_a_language_is_written_as_it_was_declared_where_both_codes_mean_it() -> None:
    assert identify_language_as_declared(SENTENCES["ar"], "arz") == "arz"
    assert (
        identify_language_as_declared(SENTENCES["fil"], "tl") == "tl"
        and identify_language_as_declared(SENTENCES["pt"], "pt-BR") == "pt-BR"
    )
    assert (
        identify_language_as_declared(SENTENCES["ru"], "bg") == "ru"
        and identify_language_as_declared(SENTENCES["ru"], None) == "ru"
    )
    assert identify_language_as_declared("Paris", "fr") == UNKNOWN


@pytest.mark.parametrize("text", ["", "1984", "Paris", "Côte d’Ivoire", "42 km²", "東京", "???", "ABC-1234 / 5678-90"])
def test_what_is_short_or_no_language_is_unknown_and_contradicts_nothing(text: str) -> None:
    found = identify_language(text)
    assert found.language == UNKNOWN and not found.known
    assert all(is_same_language(found.language, language) for language in SENTENCES)
    assert is_same_language(None, "en") and is_same_language("en", None)


def test_a_script_that_one_language_has_decides_even_a_short_text() -> None:
    assert identify_language("กรุงเทพ") == Identified("th", 1.0)
    assert identify_language("서울특별시") == Identified("ko", 1.0)
    assert identify_language("これは日本の首都") == Identified("ja", 1.0)
    assert identify_language("Which song is called さくら in the language of its singer?").language == "en"


def test_a_caller_may_ask_for_more_certainty() -> None:
    text = "A que país pertence esta bebida?"  # Portuguese, Spanish or Galician
    assert identify_language(text, min_certainty=0.0).language in ("pt", "es", "gl")
    assert identify_language(text, min_certainty=0.9).language == UNKNOWN


def test_a_code_without_a_name_is_unknown() -> None:
    assert [read_primary_code(code) for code in ("pt-BR", "zh_Hant", " EN ", "")] == ["pt", "zh", "en", UNKNOWN]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_question_of_the_countries_world_is_taken_for_another_language(language: str) -> None:
    questions = [text for wordings in read_templates()[language]["question"].values() for text in wordings]
    found = [identify_language(question).language for question in questions]
    assert all(is_same_language(each, language) for each in found)
    assert sum(each != UNKNOWN for each in found) >= 0.5 * len(found)


@pytest.mark.skipif(not INFOSEEK.is_dir(), reason=f"no InfoSeek annotations at {INFOSEEK}")
@pytest.mark.parametrize(
    ("language", "min_named"), [("en", 0.98), ("bg", 0.85), ("zh", 0.9), ("pt", 0.6), ("ru", 0.95), ("es", 0.8)]
)
def test_infoseek_questions_are_named_or_unknown_and_hardly_ever_another_language(
    language: str, min_named: float
) -> None:
    lines = (INFOSEEK / f"infoseek_val{FILES[language]}.jsonl").read_text(encoding="utf-8").splitlines()
    questions = sorted({json.loads(line)["question"] for line in lines})
    found = [identify_language(question).language for question in questions]
    named = sum(each == language for each in found) / len(found)
    wrong = sum(not is_same_language(each, language) for each in found) / len(found)
    print(f"{language}: {len(found)} questions, {named:.3f} named, {wrong:.4f} taken for another language")
    assert named >= min_named and wrong <= 0.01


CAPTIONS = {
    "en": [
        "Lighthouse",
        "Stone bridge",
        "Arctic hare",
        "Dried figs",
        "Gate valve, DN 80",
        "Tug boat",
        "Oboe",
        "Lime tea",
    ],
    "de": [
        "Leuchtturm",
        "Steinbrücke",
        "Schneehase",
        "Getrocknete Feigen",
        "Absperrschieber",
        "Schlepper",
        "Grüner Tee",
    ],
    "fr": [
        "Phare du port",
        "Pont de pierre",
        "Lièvre variable",
        "Figues sèches",
        "Robinet à vanne",
        "Remorqueur",
        "Thé vert",
    ],
    "ru": ["Маяк", "Каменный мост", "Заяц-беляк", "Сушёный инжир", "Задвижка", "Буксир", "Зелёный чай"],
    "zh": ["灯塔", "石桥", "雪兔", "无花果干", "闸阀", "拖船", "绿茶"],
}


@pytest.mark.parametrize("language", CAPTIONS)
def test_captions_of_a_few_words_have_the_language_of_their_file(language: str) -> None:
    guesser = Guesser.learn(CAPTIONS[language])
    assert set(guesser.guess(CAPTIONS[language])) == {language}


def test_a_few_words_in_latin_letters_are_english_where_nothing_else_is_known() -> None:
    for caption in [*CAPTIONS["en"], "SN 4471", "42", ""]:
        assert Guesser.learn([caption]).guess([caption]) == ["en"]
    assert Guesser.learn(CAPTIONS["zh"]).guess(["Stone bridge"]) == ["en"]


def test_sentences_keep_their_own_language_in_a_file_of_another() -> None:
    for home in CAPTIONS:
        guesser = Guesser.learn(CAPTIONS[home])
        assert dict(zip(SENTENCES, guesser.guess([*SENTENCES.values()]), strict=True)) == {
            each: each for each in SENTENCES
        }


def test_texts_guessed_together_are_guessed_as_they_are_alone() -> None:
    texts = [*SENTENCES.values(), *(caption for captions in CAPTIONS.values() for caption in captions)]
    guesser = Guesser.learn(texts)
    assert guesser.guess(texts) == [guesser.guess([text])[0] for text in texts]


def test_a_tag_has_one_spelling_and_a_word_is_no_tag() -> None:
    spellings = {
        "EN": "en",
        "eng": "en",
        "en_us": "en-US",
        "ZH-hans": "zh-Hans",
        "pt-br": "pt-BR",
        "arz": "arz",
        "xx": "xx",
    }
    assert {tag: normalise_tag(tag) for tag in spellings} == spellings
    with pytest.raises(ValueError, match="found 'English'; expected a language such as en"):
        normalise_tag("English")
    assert all(map(is_language, ["de", "EN", "pt_BR", "zh-Hans", "deu", "arz", "cmn"]))
    assert not any(map(is_language, ["ocr", "alt", "raw", "new", "old", "v2", "hd", "x", "caption", ""]))


def test_texts_of_many_languages_in_one_file_keep_their_own() -> None:
    texts = [(language, text) for language in MANY for text in list_texts(language)]
    found = Guesser.learn([text for _, text in texts]).guess_each([text for _, text in texts])
    right = {(language, text) for (language, text), each in zip(texts, found, strict=True) if each.language == language}
    assert len(MANY) > 25 and len(right) >= 0.95 * len(texts)
    wrong = {language for language, text in texts if (language, text) not in right}
    assert wrong <= {"ja", "nl"}  # dates in Chinese characters alone; names of months that are nearly Swedish
    assert sum(each.certain for each in found) >= 0.75 * len(texts)


@pytest.mark.parametrize(
    "language", ["ar", "bg", "cs", "el", "fi", "fr", "hu", "ja", "ko", "pl", "ru", "th", "tr", "vi"]
)
def test_captions_of_one_word_have_the_language_of_their_file(language: str) -> None:
    words = list_words(language)
    assert set(Guesser.learn(words).guess(words)) == {language}


def test_numbered_captions_are_english_and_none_is_certain() -> None:
    captions = [f"Valve {number}, {bars} bar" for number in range(12, 42) for bars in (16, 25)]
    found = Guesser.learn(captions).guess_each([*captions, "4711", ""])
    assert {each.language for each in found} == {"en"} and not any(each.certain for each in found)


def test_a_language_is_read_as_it_is_registered_and_any_other_word_is_refused():
    assert [read_language(tag) for tag in ("EN", "pt_br", "zh-hans", "eng", "und")] == [
        "en",
        "pt-BR",
        "zh-Hans",
        "en",
        "und",
    ]
    for word in ("xx", "日本", "", "english words", "e"):
        with pytest.raises(ValueError, match="expected a "):
            read_language(word)
