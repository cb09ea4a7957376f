-- The scores of the run $run_id by benchmark, condition and split, with 95 % intervals (low, high), and the name of the
-- encoder; `memory_vectors` is the mean number of vectors in the prompt, `share_gated` the share of answers that a gate gave
-- without memory. The table `score` also has slices of a split (`all/language=ar`), and the shares of answered questions and
-- of truncated and unparsable answers.
SELECT
    score.* EXCLUDE (artefact),
    (
        SELECT any_value(encoder_name)
        FROM evaluation
        WHERE evaluation.run_id = $run_id
            AND evaluation.scores = score.artefact
    ) AS encoder_name,
    (
        SELECT avg(memory_vectors)
        FROM prediction
        WHERE prediction.artefact IN (SELECT fingerprint FROM run_answers WHERE run_id = $run_id)
            AND prediction.benchmark = score.benchmark
            AND prediction.condition = score.condition
            AND prediction.k IS NOT DISTINCT FROM score.k
    ) AS memory_vectors,
    -- Of the score's own part of the questions.
    (
        SELECT any_value(gated.value)
        FROM score AS gated
        WHERE gated.metric = 'gated'
            AND gated.artefact = score.artefact
            AND gated.condition = score.condition
            AND gated.k IS NOT DISTINCT FROM score.k
            AND gated.split = score.split
    ) AS share_gated
FROM score
WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    AND NOT contains(split, '/')
    AND metric NOT IN ('coverage', 'truncated', 'unparsable', 'gated')
ORDER BY benchmark, starts_with(metric, 'judge:'), metric, condition, k, split
