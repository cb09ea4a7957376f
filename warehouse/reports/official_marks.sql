-- The marks that the metric $official gave the answers of one evaluation, with the columns of the questions by which
-- scores are cut and clustered.
SELECT
    prediction.condition,
    prediction.k,
    question.question_id,
    question.split,
    question.image_id,
    question.entity_id,
    question.gold_item_id,
    mark.value
FROM mark
JOIN prediction ON prediction.artefact = $predictions AND prediction.prediction_id = mark.prediction_id
JOIN question ON question.artefact = $questions AND question.question_id = prediction.question_id
WHERE mark.artefact = $scores AND mark.metric = $official
ORDER BY ALL
