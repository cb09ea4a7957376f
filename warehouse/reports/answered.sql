-- The answers of the run $run_id by benchmark, condition, number of items and encoder, with their number.
-- `predictions` is the artefact with the answers, `questions` the artefact with the questions.
SELECT
    prediction.benchmark,
    prediction.condition,
    prediction.k,
    any_value(made.input_fingerprint) FILTER (made.role = 'encoder') AS encoder,
    any_value(made.input_fingerprint) FILTER (made.role = 'questions') AS questions,
    prediction.artefact AS predictions,
    count(DISTINCT prediction.question_id) AS n
FROM prediction
LEFT JOIN artefact_input AS made ON made.fingerprint = prediction.artefact AND made.role IN ('encoder', 'questions')
WHERE prediction.artefact IN (SELECT fingerprint FROM run_answers WHERE run_id = $run_id)
GROUP BY prediction.benchmark, prediction.condition, prediction.k, prediction.artefact
ORDER BY prediction.benchmark, prediction.condition, prediction.k, encoder
