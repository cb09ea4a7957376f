-- How often the questions of $predictions have their gold item at each rank of what was retrieved for them: `num_found` at
-- this rank, the share `found_within` at this rank or a better one, of `num_questions` with a gold item. Of ranks beyond
-- 10 only the last is listed. There are rows of all questions, whose language is null, and of each language. There are
-- none if nothing was retrieved, or no question names its gold item.
WITH inputs AS (
    SELECT input_fingerprint FROM artefact_input WHERE fingerprint = $predictions
),
placed AS (
    SELECT
        question.benchmark,
        question.language,
        list_position(retrieval.item_ids, question.gold_item_id) AS place,  -- null or 0 if it was not found
        len(retrieval.item_ids) AS num_items
    FROM question
    JOIN retrieval USING (question_id)
    WHERE question.artefact IN (FROM inputs)
        AND retrieval.artefact IN (FROM inputs)
        AND question.gold_item_id IS NOT NULL
),
listed AS (
    SELECT unnest(range(1, max(num_items) + 1)) AS rank, max(num_items) AS last FROM placed
)
SELECT
    benchmark,
    language,
    rank,
    -- Not `count_if`, which is null where all places are.
    count(*) FILTER (place = rank) AS num_found,
    count(*) FILTER (place BETWEEN 1 AND rank) / count(*) AS found_within,
    count(*) AS num_questions
FROM placed, listed
WHERE rank <= 10 OR rank = listed.last
GROUP BY GROUPING SETS ((benchmark, rank), (benchmark, language, rank))
ORDER BY benchmark, language NULLS FIRST, rank
