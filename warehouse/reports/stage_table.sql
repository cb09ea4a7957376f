-- The stages of the run $run_id in the order in which they ended: what was done and why, and the resulting artefact.
-- `seconds` is the time of the stage in this run, `made_seconds` the time when the artefact was made.
SELECT
    run_stage.stage,
    run_stage.fingerprint,
    run_stage.action,
    run_stage.reason,
    artefact.num_rows,
    artefact.num_bytes,
    run_stage.seconds,
    artefact.seconds AS made_seconds,
    artefact.version,
    artefact.uri,
    run_stage.finished
FROM run_stage
LEFT JOIN artefact USING (fingerprint)
WHERE run_id = $run_id
ORDER BY run_stage.finished, run_stage.stage
