-- The answers of the artefact $predictions under the condition $condition with $k items, each with its question from
-- the artefact $questions, in the order of question ids.
SELECT
    question.* EXCLUDE (artefact),
    prediction.* EXCLUDE (artefact, benchmark, question_id, split)
FROM question
JOIN prediction USING (question_id)
WHERE question.artefact = $questions
    AND prediction.artefact = $predictions
    AND prediction.condition = $condition
    AND prediction.k IS NOT DISTINCT FROM $k
ORDER BY question.question_id
