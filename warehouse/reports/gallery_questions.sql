-- The first $limit test questions of the run $run_id in the order of a hash of their id, so they are not chosen by
-- answers.
WITH asked AS (
    SELECT benchmark, question_id, any_value(split) AS split
    FROM prediction
    WHERE artefact IN (SELECT fingerprint FROM run_answers WHERE run_id = $run_id)
    GROUP BY benchmark, question_id
    ORDER BY sha256(benchmark || question_id)
    LIMIT $limit
)
SELECT
    asked.benchmark,
    asked.question_id,
    asked.split,
    any_value(question.question) AS question,
    any_value(question.language) AS language,
    any_value(question.image_id) AS image_id,
    any_value(question.answers) AS answers,
    any_value(question.gold_item_id) AS gold_item_id
FROM asked
LEFT JOIN question USING (question_id)
GROUP BY asked.benchmark, asked.question_id, asked.split
ORDER BY sha256(asked.benchmark || asked.question_id)
