-- Pairs of a benchmark's question (`asked`) and a training sample's question (`words`) that share $min_share or more of
-- the first one's runs of $run_words words. A question with fewer words is one run; in scripts without spaces, a run
-- has as many characters as make up that many words. `alone` is the share without templates, which are runs that the
-- benchmark, or the training samples, ask about more than $max_pictures pictures. Templates count only if the pictures
-- are near.
WITH lines AS MATERIALIZED (
    SELECT question AS words, coalesce(image_id, question_id) AS picture, true AS is_asked FROM question
    UNION ALL
    SELECT words, coalesce(image_id, other_id), false FROM other
),
texts AS MATERIALIZED (
    SELECT
        words,
        terms_of(words) AS terms,
        $run_words * greatest(1, round(len(terms) / num_words(words)))::BIGINT AS size,
        list_distinct(runs_of(terms, size)) AS runs
    FROM (SELECT DISTINCT words FROM lines)
    WHERE len(terms_of(words)) > 0
),
runs AS MATERIALIZED (
    SELECT words, is_asked, unnest(runs) AS run
    FROM texts
    JOIN (SELECT DISTINCT words, is_asked FROM lines) USING (words)
),
shared AS MATERIALIZED (
    SELECT run FROM runs GROUP BY run HAVING bool_or(is_asked) AND bool_or(NOT is_asked)
),
templates AS (
    SELECT DISTINCT run
    FROM (
        SELECT run
        FROM runs
        SEMI JOIN shared USING (run)
        JOIN lines USING (words, is_asked)
        GROUP BY run, is_asked
        HAVING count(DISTINCT picture) > $max_pictures
    )
),
telling AS MATERIALIZED (
    FROM shared ANTI JOIN templates USING (run)
),
told AS (
    SELECT one.words AS asked, two.words, count(*) AS num_told
    FROM runs AS one
    JOIN telling USING (run)
    JOIN runs AS two USING (run)
    WHERE one.is_asked AND NOT two.is_asked
    GROUP BY ALL
),
pictured AS (
    SELECT DISTINCT question.question AS asked, other.words, 0 AS num_told
    FROM question
    JOIN near_picture USING (image_id)
    JOIN other ON other.image_id = near_picture.other_image_id
),
candidates AS (
    SELECT asked, words, max(num_told) AS num_told
    FROM (FROM told UNION ALL FROM pictured)
    GROUP BY ALL
)
SELECT
    asked,
    candidates.words,
    len(list_intersect(one.runs, two.runs)) / len(one.runs) AS share,
    num_told / len(one.runs) AS alone
FROM candidates
JOIN texts AS one ON one.words = candidates.asked
JOIN texts AS two ON two.words = candidates.words
WHERE share >= $min_share
