-- The answers on which the official metric and the CoMEM authors' own scoring disagree, and their total number.
SELECT
    prediction.condition,
    prediction.k,
    question.question_id,
    question.question,
    question.language,
    question.image_id,
    question.answers,
    prediction.answer,
    prediction.answer_raw,
    official.metric,
    official.value AS official,
    authors.value AS authors,
    count(*) OVER () AS total
FROM mark AS official
JOIN mark AS authors ON authors.artefact = official.artefact AND authors.prediction_id = official.prediction_id
JOIN prediction ON prediction.artefact = $predictions AND prediction.prediction_id = official.prediction_id
JOIN question ON question.artefact = $questions AND question.question_id = prediction.question_id
WHERE official.artefact = $scores
    AND official.metric = $official
    AND authors.metric = 'authors_compat'
    AND official.value <> authors.value
ORDER BY prediction.condition, prediction.k, hash(question.question_id)
LIMIT $limit
