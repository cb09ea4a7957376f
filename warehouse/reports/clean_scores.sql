-- The scores of the run $run_id on questions that are in the encoder's training samples (`/clean=no`) and on questions
-- that are not (`/clean=yes`), with 95 % intervals. There are no rows if all questions are of one kind, or if it is not
-- known.
SELECT * EXCLUDE (artefact)
FROM score
WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    AND contains(split, '/clean=')
    AND metric NOT IN ('coverage', 'truncated', 'unparsable', 'gated')
ORDER BY benchmark, starts_with(metric, 'judge:'), metric, condition, k, split
