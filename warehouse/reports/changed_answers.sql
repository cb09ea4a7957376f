-- Answers to the same question under the same condition that have different marks in two evaluations.
SELECT
    question.question_id,
    question.question,
    question.language,
    question.image_id,
    question.answers,
    question.split,
    now.condition,
    now.k,
    before.answer AS answer_before,
    now.answer AS answer_now,
    before.correct AS correct_before,
    now.correct AS correct_now,
    count(*) OVER () AS total
FROM prediction AS before
JOIN prediction AS now USING (question_id, condition, k)
JOIN question ON question.artefact = $questions AND question.question_id = now.question_id
WHERE before.artefact = $before AND now.artefact = $now AND before.correct IS DISTINCT FROM now.correct
ORDER BY now.condition, now.k, abs(now.correct - before.correct) DESC, hash(question.question_id)
LIMIT $limit
