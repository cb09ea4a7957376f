-- The run $run_id, with the commits that its artefacts were made with and the time it took (seconds).
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
