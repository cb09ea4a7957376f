-- The artefacts of the run $run_id with drafts and those with drops, over which the funnel is counted, and those with
-- predictions.
SELECT 'draft' AS holds, fingerprint
FROM run_stage
WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM draft)
UNION
SELECT 'drop', fingerprint
FROM run_stage
WHERE run_id = $run_id
    AND (fingerprint IN (SELECT artefact FROM drop) OR fingerprint IN (SELECT artefact FROM sample))
UNION
SELECT 'prediction', fingerprint
FROM run_stage
WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM prediction)
ORDER BY ALL
