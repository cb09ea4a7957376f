-- What the id $id names: an artefact, a run, a prediction, a knowledge item, or a draft.
SELECT kind
FROM (
    SELECT 'artefact' AS kind, 1 AS place FROM artefact WHERE fingerprint = $id
    UNION ALL
    SELECT 'run', 2 FROM run WHERE run_id = $id
    UNION ALL
    SELECT 'prediction', 3 FROM prediction WHERE prediction_id = $id
    UNION ALL
    SELECT 'item', 4 FROM knowledge_item WHERE item_id = $id
    UNION ALL
    SELECT 'draft', 5 FROM draft WHERE sample_id = $id
)
ORDER BY place
LIMIT 1
