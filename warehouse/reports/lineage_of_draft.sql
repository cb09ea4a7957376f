-- The history of the draft $id: the items it was answered with, its verdict, why it was dropped or where it was kept,
-- and the encoders trained on it. At most $limit rows of each kind (NULL: all); `total` is the number of all rows of
-- the kind.
WITH RECURSIVE picked AS (
    SELECT * FROM draft WHERE sample_id = $id
),
shown AS MATERIALIZED (
    SELECT
        unnest(item_ids) AS item_id,
        generate_subscripts(item_ids, 1) AS place,
        unnest(retrieval_scores) AS value
    FROM picked
),
-- A stage may drop samples that an earlier one kept: so the way down never leads through another set of samples.
sample_set AS MATERIALIZED (
    SELECT DISTINCT artefact FROM sample
),
downward (fingerprint) AS (
    SELECT artefact FROM sample WHERE sample_id = $id
    UNION
    SELECT artefact_input.fingerprint
    FROM artefact_input JOIN downward ON artefact_input.input_fingerprint = downward.fingerprint
    WHERE artefact_input.fingerprint NOT IN (FROM sample_set)
),
lines AS (
    SELECT 1 AS step, 'draft' AS kind, sample_id AS id, artefact, NULL::BIGINT AS place, NULL::DOUBLE AS value,
        question || ' → ' || coalesce(answer, '') AS detail
    FROM picked
    UNION ALL
    SELECT 2, 'item', item_id, knowledge_item.artefact, place, value, coalesce(title, text)
    FROM (SELECT DISTINCT * FROM shown) AS shown
    LEFT JOIN (FROM knowledge_item SEMI JOIN shown USING (item_id)) AS knowledge_item USING (item_id)
    UNION ALL
    SELECT 3, 'verdict', sample_id, artefact, NULL, metric_score,
        coalesce(judge, 'judge') || ': score ' || coalesce(metric_score::VARCHAR, '(none)')
        || ', without items ' || coalesce(without_score::VARCHAR, '(none)')
        || ', grounded ' || coalesce(grounded::VARCHAR, '(unknown)')
    FROM verdict
    WHERE sample_id = $id
    UNION ALL
    SELECT 4, 'drop', sample_id, artefact, NULL, value, reason
    FROM drop
    WHERE sample_id = $id
    UNION ALL
    SELECT 5, 'sample', sample_id, artefact, NULL, NULL, NULL
    FROM sample
    WHERE sample_id = $id
    UNION ALL
    SELECT DISTINCT 6, 'encoder', input_fingerprint, input_fingerprint, NULL::BIGINT, NULL::DOUBLE, NULL
    FROM artefact_input
    WHERE role = 'encoder' AND input_fingerprint IN (FROM downward)
)
SELECT kind, id, artefact, place, value, detail, count(*) OVER (PARTITION BY kind) AS total
FROM lines
QUALIFY row_number() OVER (PARTITION BY kind ORDER BY place, id, artefact) <= coalesce($limit, 1000000000000000)
ORDER BY step, place, id, artefact
