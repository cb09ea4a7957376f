-- How many benchmark questions the run $run_id found among the encoder's training samples and the knowledge items, and
-- which training data are not known.
SELECT fingerprint, json_extract(measured, '$.overlap') AS counts
FROM artefact
WHERE fingerprint IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    AND json_exists(measured, '$.overlap')
ORDER BY json_extract_string(measured, '$.overlap.benchmark'), fingerprint
