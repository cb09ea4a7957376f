-- The $limit runs with answers to the benchmark $benchmark under the condition $condition that started last; completed ones
-- come first, then failed and running ones.
SELECT run.run_id, run.flow, run.status, run.started
FROM run
WHERE run_id IN (
    SELECT run_id
    FROM run_stage
    WHERE fingerprint IN (SELECT artefact FROM prediction WHERE benchmark = $benchmark AND condition = $condition)
)
ORDER BY run.status = 'completed' DESC, run.started DESC
LIMIT $limit
