-- The training steps of the run $run_id: of the encoder, and of a projection to a text-only reader (`transfer`).
SELECT artefact.stage, step, loss, learning_rate, samples, tokens, training_step.seconds
FROM training_step
JOIN artefact ON artefact.fingerprint = training_step.artefact
WHERE training_step.artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
ORDER BY artefact.stage, step
