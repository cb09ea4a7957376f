-- The $limit runs that started last, with the address of their corpus and how many of their stages were made and how many were reused.
SELECT
    run.run_id,
    run.flow,
    run.recipe_name,
    run.recipe ->> '$.knowledge.corpus' AS corpus,
    run.status,
    run.started,
    run.ended,
    count(*) FILTER (action IN ('made', 'continued')) AS num_made,
    count(*) FILTER (action = 'reused') AS num_reused,
    run.error
FROM run
LEFT JOIN run_stage USING (run_id)
GROUP BY ALL
ORDER BY run.started DESC
LIMIT $limit
