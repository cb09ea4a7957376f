-- Everything that used the knowledge item $id: the drafts it was shown for, their drops and samples, the encoders
-- trained on those samples, the banks that hold its memory, and the predictions it was shown for.
-- At most $limit rows of each kind (NULL: all); `total` is the number of all rows of the kind. `place` is the item's
-- rank, or its row in the bank.
-- DuckDB uses an index for a materialised semi join on one column; a join on two columns reads every row.
WITH RECURSIVE used_draft AS MATERIALIZED (
    SELECT sample_id, artefact, min(place) AS place FROM draft_item WHERE item_id = $id GROUP BY ALL
),
first_draft AS MATERIALIZED (
    SELECT * FROM used_draft ORDER BY sample_id, artefact LIMIT coalesce($limit, 1000000000000000)
),
first_draft_row AS MATERIALIZED (
    SELECT sample_id, artefact, question, answer, retrieval_scores FROM draft SEMI JOIN first_draft USING (sample_id)
),
used_sample AS MATERIALIZED (
    SELECT sample_id, artefact FROM sample SEMI JOIN used_draft USING (sample_id)
),
used_prediction AS MATERIALIZED (
    SELECT prediction_id, artefact, min(place) AS place FROM prediction_item WHERE item_id = $id GROUP BY ALL
),
first_prediction AS MATERIALIZED (
    SELECT * FROM used_prediction ORDER BY prediction_id, artefact LIMIT coalesce($limit, 1000000000000000)
),
first_prediction_row AS MATERIALIZED (
    SELECT prediction_id, artefact, condition, answer, correct
    FROM prediction
    SEMI JOIN first_prediction USING (prediction_id)
),
-- A stage may drop samples that an earlier one kept: so the way down never leads through another set of samples.
sample_set AS MATERIALIZED (
    SELECT DISTINCT artefact FROM sample
),
downward (fingerprint) AS (
    SELECT DISTINCT artefact FROM used_sample
    UNION
    SELECT artefact_input.fingerprint
    FROM artefact_input JOIN downward ON artefact_input.input_fingerprint = downward.fingerprint
    WHERE artefact_input.fingerprint NOT IN (FROM sample_set)
),
lines AS (
    SELECT 1 AS step, 'item' AS kind, item_id AS id, artefact, NULL::BIGINT AS place, NULL::DOUBLE AS value,
        coalesce(title, text) AS detail, NULL::BIGINT AS total
    FROM knowledge_item
    WHERE item_id = $id
    UNION ALL
    SELECT 2, 'draft', sample_id, artefact, place, retrieval_scores[place], question || ' → ' || coalesce(answer, ''),
        (SELECT count(*) FROM used_draft)
    FROM first_draft_row
    JOIN first_draft USING (sample_id, artefact)
    UNION ALL
    SELECT 3, 'drop', sample_id, artefact, NULL, value, reason, NULL
    FROM drop SEMI JOIN used_draft USING (sample_id)
    UNION ALL
    SELECT 4, 'sample', sample_id, artefact, NULL, NULL, NULL, NULL
    FROM used_sample
    UNION ALL
    SELECT DISTINCT 5, 'encoder', input_fingerprint, input_fingerprint, NULL::BIGINT, NULL::DOUBLE, NULL, NULL::BIGINT
    FROM artefact_input
    WHERE role = 'encoder' AND input_fingerprint IN (FROM downward)
    UNION ALL
    SELECT 6, 'bank', artefact, artefact, row, NULL, 'row ' || row, NULL
    FROM bank_entry
    WHERE item_id = $id
    UNION ALL
    SELECT 7, 'prediction', prediction_id, artefact, place, correct,
        condition || ': ' || coalesce(answer, '(no answer)'), (SELECT count(*) FROM used_prediction)
    FROM first_prediction_row
    JOIN first_prediction USING (prediction_id, artefact)
)
SELECT kind, id, artefact, place, value, detail, coalesce(total, count(*) OVER (PARTITION BY kind)) AS total
FROM lines
QUALIFY row_number() OVER (PARTITION BY kind ORDER BY id, artefact) <= coalesce($limit, 1000000000000000)
ORDER BY step, id, artefact
