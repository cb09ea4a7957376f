-- Questions of the benchmark (`asked`) whose runs of $run_words words are in the text of an item (`words`), at least
-- the share $min_share of them. Shorter questions are not compared, because many texts have their words. In scripts
-- without spaces, a run has as many characters as make up that many words.
-- This finds all of them: a run that is in a text contains one of the half runs that begin at every fifth word (for
-- runs of 8) of that text, so whole runs are searched only where a half run is found.
WITH asked_texts AS MATERIALIZED (
    SELECT
        question AS asked,
        terms_of(question) AS terms,
        $run_words * greatest(1, round(len(terms) / num_words(question)))::BIGINT AS size
    FROM (SELECT DISTINCT question FROM question)
    WHERE len(terms) >= size
),
asked_runs AS MATERIALIZED (
    SELECT asked, ' ' || unnest(list_distinct(runs_of(terms, size))) || ' ' AS run FROM asked_texts
),
half_runs AS (
    SELECT asked, unnest(list_distinct(runs_of(terms, $run_words // 2))) AS half FROM asked_texts
),
item_halves AS (
    SELECT
        words,
        unnest(list_transform(
            range(1, len(terms) - $run_words // 2 + 2, $run_words - $run_words // 2 + 1),
            lambda first: array_to_string(terms[first:first + $run_words // 2 - 1], ' ')
        )) AS half
    FROM (SELECT words, terms_of(words) AS terms FROM (SELECT DISTINCT words FROM other))
),
candidates AS MATERIALIZED (
    SELECT DISTINCT asked, words FROM item_halves JOIN half_runs USING (half)
),
item_texts AS MATERIALIZED (
    SELECT words, ' ' || array_to_string(terms_of(words), ' ') || ' ' AS line FROM (SELECT DISTINCT words FROM candidates)
)
SELECT asked, words, avg(contains(line, run)::INTEGER) AS share, share AS alone
FROM candidates
JOIN item_texts USING (words)
JOIN asked_runs USING (asked)
GROUP BY asked, words
HAVING share >= $min_share
