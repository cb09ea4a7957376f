-- The differences between two conditions of the run $run_id on the same questions, over a whole benchmark by its official
-- metric, as scoring computed them: first minus second, with a 95 % interval (low, high) by cluster and the word for it
-- (better, worse or tied). If conditions were asked with several numbers of items, the largest number counts; a condition
-- that shows no items has one score. Shares of 1.
WITH compared AS (
    SELECT *, split = 'all' OR max(split) OVER one_artefact = min(split) OVER one_artefact AS is_whole
    FROM difference
    WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
        AND before IS NULL
        AND NOT contains(split, '/')
    WINDOW one_artefact AS (PARTITION BY artefact)
),
picked AS (
    SELECT * FROM compared WHERE is_whole QUALIFY k IS NOT DISTINCT FROM max(k) OVER (PARTITION BY artefact)
),
scored AS (
    SELECT
        picked.*,
        score.condition,
        arg_max(score.value, score.k IS NOT DISTINCT FROM picked.k) AS score_value
    FROM picked
    JOIN score USING (artefact, metric, split)
    GROUP BY ALL
)
SELECT
    benchmark,
    first,
    second,
    k,
    n,
    any_value(score_value) FILTER (condition = first) AS first_value,
    any_value(score_value) FILTER (condition = second) AS second_value,
    value,
    low,
    high,
    p_adjusted,
    word
FROM scored
GROUP BY ALL
ORDER BY ALL
