-- The items retrieved for $questions in the run $run_id, in rank order, as the condition `memory` shows them (or `text`
-- if `memory` was not asked); the score is the retrieval's.
WITH shown AS (
    SELECT question_id, item_ids
    FROM prediction
    WHERE artefact IN (SELECT fingerprint FROM run_answers WHERE run_id = $run_id)
        AND list_contains($questions, question_id)
        AND condition IN ('memory', 'text')
    QUALIFY row_number() OVER (PARTITION BY question_id ORDER BY condition, k DESC) = 1
),
scored AS (
    SELECT shown.question_id, shown.item_ids, any_value(retrieval.scores) AS scores
    FROM shown
    LEFT JOIN retrieval
        ON retrieval.question_id = shown.question_id AND retrieval.item_ids[:len(shown.item_ids)] = shown.item_ids
    GROUP BY ALL
),
ranked AS (
    SELECT
        question_id,
        unnest(item_ids) AS item_id,
        generate_subscripts(item_ids, 1) AS place,
        unnest(scores[:len(item_ids)]) AS score
    FROM scored
)
SELECT
    question_id,
    place,
    item_id,
    score,
    any_value(title) AS title,
    any_value(text) AS text,
    any_value(language) AS language,
    any_value(image_id) AS image_id,
    any_value(source) AS source,
    any_value(licence) AS licence
FROM ranked
LEFT JOIN knowledge_item USING (item_id)
GROUP BY question_id, place, item_id, score
ORDER BY question_id, place
