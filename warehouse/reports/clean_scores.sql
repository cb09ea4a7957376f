-- The scores of the run $run_id on the questions that are in the encoder's training samples (`/clean=no`) and on those that
-- are not (`/clean=yes`), with 95 % intervals; there are none where all questions are of one kind, or it is not known.
SELECT * EXCLUDE (artefact)
FROM score
WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    AND contains(split, '/clean=')
    AND low IS NOT NULL
ORDER BY benchmark, starts_with(metric, 'judge:'), metric, condition, k, split
