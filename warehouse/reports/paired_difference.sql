-- The differences of two conditions on the same questions in the run $run_id: the mean of each over the questions that
-- both answered, the mean difference (first minus second) and its standard error. If a condition was asked with several
-- numbers of items, the largest number counts; an answer that could not be scored counts as wrong.
WITH picked AS (
    SELECT benchmark, condition, question_id, k, coalesce(correct, 0) AS correct
    FROM prediction
    WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    QUALIFY k IS NOT DISTINCT FROM max(k) OVER (PARTITION BY benchmark, condition)
),
answered AS (
    SELECT benchmark, condition, question_id, avg(correct) AS correct FROM picked GROUP BY ALL
)
SELECT
    a.benchmark,
    a.condition,
    b.condition AS other,
    count(*) AS n,
    avg(a.correct) AS value,
    avg(b.correct) AS other_value,
    avg(a.correct - b.correct) AS difference,
    stddev_samp(a.correct - b.correct) / sqrt(count(*)) AS standard_error
FROM answered AS a
JOIN answered AS b ON a.benchmark = b.benchmark AND a.question_id = b.question_id AND a.condition <> b.condition
GROUP BY ALL
ORDER BY ALL
