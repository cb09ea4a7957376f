-- Macros for texts. In scripts without spaces, each character is a term, and two characters of Chinese or Japanese, or
-- four of Thai, Lao, Khmer or Burmese, make a word.
-- What tells two texts apart stays in the terms: numbers as numbers (1,500 is 1500, 3,5 is 3.5, and 35 is neither), their
-- minus (written −), < and >, and the signs behind a word (C++, C#, O−).
CREATE OR REPLACE TEMP MACRO join_thousands(words) AS regexp_replace(words, '([0-9])[,''’]([0-9]{3})\b', '\1\2', 'g');
CREATE OR REPLACE TEMP MACRO unify_numbers(words) AS regexp_replace(
    regexp_replace(
        regexp_replace(join_thousands(join_thousands(words)), '([0-9]),([0-9])', '\1.\2', 'g'),
        '(^|[\s(])[-−–]([0-9])', '\1−\2', 'g'
    ),
    '(\p{L})[-−–]([\s).,?!]|$)', '\1−\2', 'g'
);
CREATE OR REPLACE TEMP MACRO terms_of(words) AS regexp_extract_all(
    unify_numbers(lower(nfc_normalize(words))),
    '[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|[<>≤≥]'
    || '|(?:−?[0-9]+(?:\.[0-9]+)*|[^\s\p{P}\p{S}\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])'
    || '[^\s\p{P}\p{S}\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]*[+#−]*'
);
-- The terms of which one that differs makes a text another one: numbers and signs, sorted.
CREATE OR REPLACE TEMP MACRO telling_terms(words) AS list_sort(list_distinct(list_filter(
    terms_of(words), lambda term: regexp_matches(term, '^[−0-9<>≤≥]|[+#−]$')
)));
-- The units behind numbers, in the order of the text, with their case: 5 mW is not 5 MW.
CREATE OR REPLACE TEMP MACRO cased_units(words) AS regexp_extract_all(
    nfc_normalize(words), '[0-9]\s?(°?\p{L}{1,4}(?:[/·]\p{L}{1,4})?)(?:[^\p{L}]|$)', 1
);
CREATE OR REPLACE TEMP MACRO num_words(words) AS len(regexp_extract_all(
    coalesce(words, ''),
    '[\p{Han}\p{Hiragana}\p{Katakana}]{1,2}|[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{1,4}'
    || '|[^\s\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+'
));
-- Every run of `size` terms; a shorter text is one run. `size` should be a column, because a macro's argument is
-- repeated wherever the macro uses it.
CREATE OR REPLACE TEMP MACRO runs_of(terms, size) AS list_transform(
    range(1, greatest(len(terms) - size, 0) + 2), lambda first: array_to_string(terms[first:first + size - 1], ' ')
);
