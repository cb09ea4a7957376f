-- Everything that used the knowledge item $id: the drafts it was shown for, their drops and samples, the encoders trained
-- on those samples, the banks that hold its memory, and the predictions it was shown for.
-- At most $limit rows a kind (NULL: all); `total` is how many there are. `place` is the item's rank, or its row in the bank.
WITH RECURSIVE used_draft AS (
    SELECT * FROM draft WHERE list_contains(item_ids, $id)
),
used_sample AS (
    SELECT * FROM sample SEMI JOIN used_draft USING (sample_id)
),
downward (fingerprint) AS (
    SELECT DISTINCT artefact FROM used_sample
    UNION
    SELECT artefact_input.fingerprint
    FROM artefact_input JOIN downward ON artefact_input.input_fingerprint = downward.fingerprint
),
lines AS (
    SELECT 1 AS step, 'item' AS kind, item_id AS id, artefact, NULL::BIGINT AS place, NULL::DOUBLE AS value,
        coalesce(title, text) AS detail
    FROM knowledge_item
    WHERE item_id = $id
    UNION ALL
    SELECT 2, 'draft', sample_id, artefact, list_position(item_ids, $id),
        retrieval_scores[list_position(item_ids, $id)], question || ' → ' || coalesce(answer, '')
    FROM used_draft
    UNION ALL
    SELECT 3, 'drop', sample_id, artefact, NULL, value, reason
    FROM drop SEMI JOIN used_draft USING (sample_id)
    UNION ALL
    SELECT 4, 'sample', sample_id, artefact, NULL, NULL, NULL
    FROM used_sample
    UNION ALL
    SELECT DISTINCT 5, 'encoder', input_fingerprint, input_fingerprint, NULL::BIGINT, NULL::DOUBLE, NULL
    FROM artefact_input
    WHERE role = 'encoder' AND input_fingerprint IN (FROM downward)
    UNION ALL
    SELECT 6, 'bank', artefact, artefact, row, NULL, 'row ' || row
    FROM bank_entry
    WHERE item_id = $id
    UNION ALL
    SELECT 7, 'prediction', prediction_id, artefact, list_position(item_ids, $id), correct,
        condition || ': ' || coalesce(answer, '(no answer)')
    FROM prediction
    WHERE list_contains(item_ids, $id)
)
SELECT kind, id, artefact, place, value, detail, count(*) OVER (PARTITION BY kind) AS total
FROM lines
QUALIFY row_number() OVER (PARTITION BY kind ORDER BY id, artefact) <= coalesce($limit, 1000000000000000)
ORDER BY step, id, artefact
