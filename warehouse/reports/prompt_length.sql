-- The length of prompts in the run $run_id and the scores, by benchmark, encoder, condition and number of items (the
-- paper's Table 11 and Figure 4): mean prompt tokens, mean memory vectors in addition, and the score of the whole
-- benchmark by each metric (0 to 1), with its 95 % interval.
WITH used AS (
    SELECT fingerprint FROM run_stage WHERE run_id = $run_id
),
whole AS (
    SELECT *, coalesce(
        (SELECT input_fingerprint FROM artefact_input WHERE fingerprint = score.artefact AND role = 'predictions'),
        score.artefact
    ) AS predictions
    FROM score
    WHERE artefact IN (FROM used)
        AND NOT contains(split, '/')
        AND metric NOT IN ('coverage', 'truncated', 'unparsable', 'gated')
    -- A benchmark with only one split has no part named `all`.
    QUALIFY split = 'all' OR count(*) OVER (PARTITION BY artefact, benchmark, condition, k, metric) = 1
),
shown AS (
    SELECT artefact, benchmark, condition, k, avg(prompt_tokens) AS prompt_tokens, avg(memory_vectors) AS memory_vectors
    FROM prediction
    WHERE artefact IN (FROM used)
    GROUP BY ALL
)
SELECT
    whole.benchmark,
    (
        SELECT any_value(input_fingerprint)
        FROM artefact_input
        WHERE fingerprint = whole.predictions AND role = 'encoder'
    ) AS encoder,
    (SELECT measured->>'$.reader.name' FROM artefact WHERE fingerprint = whole.predictions) AS text_reader,
    whole.condition,
    whole.k,
    shown.prompt_tokens,
    shown.memory_vectors,
    whole.metric,
    whole.value,
    whole.low,
    whole.high,
    whole.n
FROM whole
JOIN shown
    ON shown.artefact = whole.predictions
    AND shown.benchmark = whole.benchmark
    AND shown.condition = whole.condition
    AND shown.k IS NOT DISTINCT FROM whole.k
ORDER BY whole.benchmark, encoder, whole.metric, whole.condition, whole.k
