-- The training of the run $run_id, step by step.
SELECT step, loss, learning_rate, samples, tokens, seconds
FROM training_step
WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
ORDER BY step
