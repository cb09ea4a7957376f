-- The first $limit kept samples ($kept of $drafts) in the order of a hash of their id, each with its first item
-- ($knowledge).
WITH kept AS (
    SELECT *
    FROM draft
    WHERE list_contains($drafts, artefact)
        AND sample_id IN (SELECT sample_id FROM sample WHERE list_contains($kept, artefact))
)
SELECT
    sample_id,
    mode,
    language,
    question,
    kept.image_id AS image_id,
    answer,
    item_ids,
    retrieval_scores,
    (
        SELECT any_value(text)
        FROM knowledge_item
        WHERE list_contains($knowledge, artefact) AND item_id = kept.item_ids[1]
    ) AS first_item
FROM kept
ORDER BY sha256(sample_id), sample_id
LIMIT $limit
