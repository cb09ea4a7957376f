-- What the prediction $id was made from: its question, the items it was shown, its encoder and bank, the text-only
-- reader (with the projection to it) if one answered, and the samples (with their drafts) that the encoder was trained
-- on. Samples that share an item with the prediction come first.
-- At most $limit rows of each kind (NULL: all); `total` is the number of all rows of the kind.
WITH RECURSIVE picked AS (
    SELECT * FROM prediction WHERE prediction_id = $id
),
upward (fingerprint) AS (
    SELECT artefact FROM picked
    UNION
    SELECT input_fingerprint FROM artefact_input JOIN upward USING (fingerprint)
),
-- A stage may drop samples that an earlier one kept: only the last set of samples on each way up was trained on.
sample_set AS MATERIALIZED (
    SELECT DISTINCT artefact FROM sample
),
trained_on (fingerprint) AS (
    SELECT artefact FROM picked
    UNION
    SELECT input_fingerprint
    FROM artefact_input JOIN trained_on USING (fingerprint)
    WHERE fingerprint NOT IN (FROM sample_set)
),
shown AS MATERIALIZED (
    SELECT DISTINCT question_id, unnest(item_ids) AS item_id, generate_subscripts(item_ids, 1) AS place FROM picked
),
retrieved AS (
    SELECT question_id, unnest(item_ids) AS item_id, unnest(scores) AS value
    FROM retrieval
    SEMI JOIN picked USING (question_id)
    WHERE artefact IN (FROM upward)
),
sharing_draft AS MATERIALIZED (
    SELECT sample_id, count(DISTINCT item_id) AS num_shared
    FROM (FROM draft_item SEMI JOIN shown USING (item_id))
    WHERE artefact IN (FROM upward)
    GROUP BY sample_id
),
sharing_sample AS MATERIALIZED (
    FROM sample SEMI JOIN sharing_draft USING (sample_id)
),
-- The first samples in the order of loading, in case fewer than $limit share an item.
first_sample AS MATERIALIZED (
    FROM sample WHERE artefact IN (FROM trained_on) LIMIT coalesce($limit, 1000000000000000)
),
used_draft AS MATERIALIZED (
    SELECT sample_id, artefact AS sample_artefact, coalesce(num_shared, 0) AS num_shared
    FROM (FROM sharing_sample UNION FROM first_sample)
    LEFT JOIN sharing_draft USING (sample_id)
    WHERE artefact IN (FROM trained_on)
    ORDER BY num_shared DESC, sample_id
    LIMIT coalesce($limit, 1000000000000000)
),
used_draft_row AS MATERIALIZED (
    SELECT sample_id, artefact, question, answer FROM draft SEMI JOIN used_draft USING (sample_id)
),
lines AS (
    SELECT 1 AS step, 'prediction' AS kind, prediction_id AS id, artefact, k::BIGINT AS place, correct AS value,
        condition || ': ' || coalesce(answer, '(no answer)') AS detail
    FROM picked
    UNION ALL
    SELECT 2, 'question', question_id, artefact, NULL, NULL, question || ' → ' || coalesce(answers[1], '')
    FROM question SEMI JOIN picked USING (question_id)
    WHERE artefact IN (FROM upward)
    UNION ALL
    SELECT 3, 'item', item_id, knowledge_item.artefact, place, retrieved.value, coalesce(title, text)
    FROM shown
    LEFT JOIN (
        FROM knowledge_item SEMI JOIN shown USING (item_id) WHERE artefact IN (FROM upward)
    ) AS knowledge_item USING (item_id)
    LEFT JOIN retrieved USING (question_id, item_id)
    UNION ALL
    SELECT DISTINCT if(role = 'bank', 4, 5), role, input_fingerprint, input_fingerprint, NULL::BIGINT, NULL::DOUBLE,
        if(role = 'reader', (SELECT any_value(measured->>'$.reader.name') FROM artefact SEMI JOIN picked
            ON artefact.fingerprint = picked.artefact), NULL)
    FROM artefact_input
    WHERE role IN ('bank', 'encoder', 'transfer', 'reader') AND fingerprint IN (FROM upward)
    UNION ALL
    SELECT 6, 'sample', sample_id, sample_artefact, num_shared, NULL, 'shares ' || num_shared || ' of the items shown'
    FROM used_draft
    UNION ALL
    SELECT 7, 'draft', sample_id, artefact, num_shared, NULL, question || ' → ' || coalesce(answer, '')
    FROM used_draft_row
    JOIN used_draft USING (sample_id)
    WHERE artefact IN (FROM upward)
)
SELECT
    kind,
    id,
    artefact,
    place,
    value,
    detail,
    if(step >= 6, (SELECT count(*) FROM sample WHERE artefact IN (FROM trained_on)), count(*) OVER (PARTITION BY kind)) AS total
FROM lines
QUALIFY row_number() OVER (PARTITION BY kind ORDER BY if(step >= 6, -place, place), id)
    <= coalesce($limit, 1000000000000000)
ORDER BY step, if(step >= 6, -place, place), id
