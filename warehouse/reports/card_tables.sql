-- The artefacts of the run $run_id that a data card describes, by what they hold; `kept` are those with drops and
-- samples.
SELECT 'knowledge' AS holds, fingerprint
FROM run_stage
WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM knowledge_item)
UNION
SELECT 'questions', fingerprint
FROM run_stage
WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM question)
UNION
SELECT 'drafts', fingerprint
FROM run_stage
WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM draft)
UNION
SELECT 'verdicts', fingerprint
FROM run_stage
WHERE run_id = $run_id AND fingerprint IN (SELECT artefact FROM verdict)
UNION
SELECT 'kept', fingerprint
FROM run_stage
WHERE run_id = $run_id
    AND (fingerprint IN (SELECT artefact FROM drop) OR fingerprint IN (SELECT artefact FROM sample))
ORDER BY ALL
