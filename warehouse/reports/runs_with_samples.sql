-- The $limit runs with drafts and drops that started last; completed ones come first, then failed and running ones.
SELECT run.run_id, run.flow, run.status, run.started
FROM run
WHERE run_id IN (SELECT run_id FROM run_stage WHERE fingerprint IN (SELECT artefact FROM draft))
    AND run_id IN (
        SELECT run_id
        FROM run_stage
        WHERE fingerprint IN (SELECT artefact FROM drop) OR fingerprint IN (SELECT artefact FROM sample)
    )
ORDER BY run.status = 'completed' DESC, run.started DESC
LIMIT $limit
