-- The artefacts that rest on the chosen knowledge items: what holds them, what was shown them or trained on samples with them, and what was made from that.
-- The items are those whose $by (item, image, licence, source) is one of $values; with $by = 'gone', those that the latest artefact of their corpus lacks.
WITH RECURSIVE use_of_corpus AS (
    SELECT
        fingerprint,
        -- A corpus that is read with other options is another one, and so is a folder of the same name elsewhere.
        json_merge_patch(recipe, '{"content": null, "withdrawn": null}') AS corpus,
        measured ->> '$.corpus_address' AS address,
        (SELECT max(finished) FROM run_stage WHERE run_stage.fingerprint = artefact.fingerprint) AS last_used
    FROM artefact
    SEMI JOIN knowledge_item ON knowledge_item.artefact = fingerprint
),
latest AS (
    SELECT fingerprint FROM use_of_corpus
    QUALIFY row_number() OVER (PARTITION BY corpus, address ORDER BY last_used DESC NULLS LAST, fingerprint) = 1
),
chosen AS MATERIALIZED (
    SELECT DISTINCT item_id
    FROM knowledge_item
    WHERE CASE $by
        WHEN 'item' THEN list_contains($values, item_id)
        WHEN 'image' THEN list_contains($values, image_id)
        WHEN 'licence' THEN list_contains($values, licence)
        WHEN 'source' THEN list_contains($values, source)
        ELSE $by = 'gone' AND item_id NOT IN (SELECT item_id FROM knowledge_item WHERE artefact IN (FROM latest))
    END
),
holding AS (
    SELECT artefact, count(*) AS num_rows FROM knowledge_item SEMI JOIN chosen USING (item_id) GROUP BY artefact
),
remembering AS (
    SELECT artefact, count(*) AS num_rows FROM bank_entry SEMI JOIN chosen USING (item_id) GROUP BY artefact
),
used_draft AS MATERIALIZED (
    SELECT DISTINCT artefact, sample_id FROM draft_item SEMI JOIN chosen USING (item_id)
),
used_sample AS MATERIALIZED (
    SELECT artefact, sample_id FROM sample SEMI JOIN used_draft USING (sample_id)
),
used_prediction AS MATERIALIZED (
    SELECT DISTINCT artefact, prediction_id FROM prediction_item SEMI JOIN chosen USING (item_id)
),
sample_set AS MATERIALIZED (
    SELECT DISTINCT artefact FROM sample
),
-- A stage may drop samples that an earlier one kept: so the way down never leads through another set of samples.
trained (fingerprint) AS (
    SELECT DISTINCT artefact FROM used_sample
    UNION
    SELECT artefact_input.fingerprint
    FROM artefact_input JOIN trained ON artefact_input.input_fingerprint = trained.fingerprint
    WHERE artefact_input.fingerprint NOT IN (FROM sample_set)
),
answered (fingerprint) AS (
    SELECT DISTINCT artefact FROM used_prediction
    UNION
    SELECT artefact_input.fingerprint
    FROM artefact_input JOIN answered ON artefact_input.input_fingerprint = answered.fingerprint
),
found AS (
    SELECT artefact AS fingerprint, 'holds them' AS why, num_rows FROM holding
    UNION ALL
    SELECT artefact, 'holds them', num_rows FROM remembering
    UNION ALL
    SELECT artefact_input.fingerprint, 'holds them', holding.num_rows
    FROM artefact_input
    JOIN holding ON input_fingerprint = holding.artefact
    JOIN artefact ON artefact.fingerprint = artefact_input.fingerprint
    WHERE stage = 'index'
    UNION ALL
    SELECT artefact, 'was shown them', count(*) FROM used_draft GROUP BY artefact
    UNION ALL
    SELECT artefact, 'was shown them', count(*) FROM used_prediction GROUP BY artefact
    UNION ALL
    SELECT artefact, 'keeps samples with them', count(*) FROM used_sample GROUP BY artefact
    UNION ALL
    SELECT fingerprint, 'rests on samples with them', NULL
    FROM trained
    WHERE fingerprint NOT IN (FROM sample_set)
    UNION ALL
    SELECT fingerprint, 'rests on answers with them', NULL
    FROM answered
    WHERE fingerprint NOT IN (SELECT artefact FROM used_prediction)
)
SELECT
    artefact.stage,
    artefact.fingerprint,
    string_agg(DISTINCT why, ', ' ORDER BY why) AS why,
    max(found.num_rows) AS num_rows,
    (SELECT count(*) FROM chosen) AS num_items,
    (
        SELECT last(run_id ORDER BY finished)
        FROM run_stage
        WHERE run_stage.fingerprint = artefact.fingerprint
    ) AS last_run
FROM found
JOIN artefact ON artefact.fingerprint = found.fingerprint
GROUP BY artefact.stage, artefact.fingerprint, artefact.created
ORDER BY artefact.created, artefact.stage, artefact.fingerprint
