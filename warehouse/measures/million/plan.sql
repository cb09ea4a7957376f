-- The subjects and the faults of the drafts from $first to $last - 1. There are $num_pictures pictures. Some drafts
-- repeat an earlier one, exactly or nearly. Each other fault is in 4 % of the drafts, independently and at random.
CREATE OR REPLACE TEMP TABLE plan AS
WITH numbers AS (
    SELECT
        number,
        chance(number, 'kind') AS kind,
        number >= $num_pictures AND kind < 0.02 AS is_duplicate,
        number >= $num_pictures AND kind BETWEEN 0.02 AND 0.03 AS is_near,
        if(is_duplicate OR is_near, number - $num_pictures, number) AS source
    FROM range($first, $last) AS numbers (number)
),
placed AS (
    SELECT
        *,
        source % $num_pictures AS picture,
        -- Each picture has questions in every fourth of the 200 wordings, in all languages.
        (source // $num_pictures * 4 + picture % 4) % 200 AS wording
    FROM numbers
)
SELECT
    placed.number,
    picture,
    is_near,
    language,
    attribute,
    -- Twenty pictures show the same place.
    replace(pattern, '{}', named(language, picture // 20)) AS plain_question,
    CASE
        WHEN chance(number, 'short') < 0.02 THEN '?'
        WHEN chance(number, 'short') < 0.04 THEN plain_question || repeat(' and so on without an end', 10)
        WHEN is_near THEN plain_question || ' !'
        ELSE plain_question
    END AS question,
    CASE
        WHEN chance(source, 'popular') < 0.08 THEN named(language, source % 10)
        ELSE named(language, (md5_number_lower('answer' || source) % 160000)::BIGINT)
    END AS answer,
    if(chance(source, 'common') < 0.08, source % 100, picture * 5 + wording % 5) AS item
FROM placed
JOIN wording USING (wording)
