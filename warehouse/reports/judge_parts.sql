-- The answers on which the official metric and a judge disagree, with the judge's reply and the total number. An
-- official mark of a half or more counts as right; replies without a verdict are left out.
WITH judged AS (
    SELECT unnest(prediction_ids) AS prediction_id, reply, verdict = 'correct' AS is_right
    FROM judgement
    WHERE artefact = $judgements AND verdict IN ('correct', 'incorrect')
)
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
    judged.reply,
    count(*) OVER () AS total
FROM judged
JOIN mark AS official ON official.prediction_id = judged.prediction_id
JOIN prediction ON prediction.artefact = $predictions AND prediction.prediction_id = judged.prediction_id
JOIN question ON question.artefact = $questions AND question.question_id = prediction.question_id
WHERE official.artefact = $scores
    AND official.metric = $official
    AND (official.value >= 0.5) <> judged.is_right
ORDER BY prediction.condition, prediction.k, hash(question.question_id)
LIMIT $limit
