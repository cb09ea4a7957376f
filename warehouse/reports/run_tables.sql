-- Which artefacts of the run $run_id hold drafts, and which hold drops: what the funnel is counted over.
SELECT 'draft' AS holds, fingerprint
FROM run_stage
WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM draft)
UNION
SELECT 'drop', fingerprint
FROM run_stage
WHERE run_id = $run_id
    AND (fingerprint IN (SELECT artefact FROM drop) OR fingerprint IN (SELECT artefact FROM sample))
ORDER BY ALL
