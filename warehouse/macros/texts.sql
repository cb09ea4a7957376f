-- Macros for texts. In scripts without spaces, each character is a term, and two characters of Chinese or Japanese, or
-- four of Thai, Lao, Khmer or Burmese, make a word.
CREATE OR REPLACE TEMP MACRO terms_of(words) AS regexp_extract_all(
    lower(nfc_normalize(words)),
    '[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]'
    || '|[^\s\p{P}\p{S}\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+'
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
