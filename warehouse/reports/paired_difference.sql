-- The differences of two conditions on the same questions in the run $run_id: the mean of each over the questions that
-- both answered, the mean difference (first minus second), and its standard error over clusters: the questions about one
-- entity, or else about one picture. If a condition was asked with several numbers of items, the largest number counts;
-- an answer that could not be scored counts as wrong.
WITH picked AS (
    SELECT benchmark, condition, question_id, k, coalesce(correct, 0) AS correct
    FROM prediction
    WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    QUALIFY k IS NOT DISTINCT FROM max(k) OVER (PARTITION BY benchmark, condition)
),
answered AS (
    SELECT benchmark, condition, question_id, avg(correct) AS correct FROM picked GROUP BY ALL
),
known AS (
    SELECT question_id, any_value(coalesce(entity_id, image_id)) AS cluster
    FROM question
    WHERE question_id IN (SELECT question_id FROM answered)
    GROUP BY question_id
),
clustered AS (
    SELECT
        a.benchmark,
        a.condition,
        b.condition AS other,
        coalesce(known.cluster, a.question_id) AS cluster,
        count(*) AS num,
        sum(a.correct) AS correct,
        sum(b.correct) AS other_correct
    FROM answered AS a
    JOIN answered AS b ON a.benchmark = b.benchmark AND a.question_id = b.question_id AND a.condition <> b.condition
    LEFT JOIN known ON known.question_id = a.question_id
    GROUP BY ALL
),
centred AS (
    SELECT *, correct - other_correct - num * sum(correct - other_correct) OVER pair / sum(num) OVER pair AS residual
    FROM clustered
    WINDOW pair AS (PARTITION BY benchmark, condition, other)
)
SELECT
    benchmark,
    condition,
    other,
    sum(num)::BIGINT AS n,
    count(*) AS num_clusters,
    sum(correct) / sum(num) AS value,
    sum(other_correct) / sum(num) AS other_value,
    sum(correct - other_correct) / sum(num) AS difference,
    sqrt(count(*) / nullif(count(*) - 1, 0) * sum(residual * residual)) / sum(num) AS standard_error
FROM centred
GROUP BY ALL
ORDER BY ALL
