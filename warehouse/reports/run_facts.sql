-- The run $run_id, with the commits of the code that made its artefacts, and its duration (seconds).
SELECT
    run.* EXCLUDE (recipe),
    run.recipe::VARCHAR AS recipe,
    date_diff('millisecond', started, ended) / 1000 AS seconds,
    (
        SELECT string_agg(DISTINCT commit, ', ')
        FROM artefact
        WHERE fingerprint IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    ) AS commit
FROM run
WHERE run_id = $run_id
