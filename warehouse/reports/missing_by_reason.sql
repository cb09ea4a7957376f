-- The questions of a benchmark that could not be asked, by reason, with one example each.
SELECT reason, count(*) AS num_questions, arg_min(detail, hash(question_id)) AS example
FROM missing_question
WHERE artefact = $questions
GROUP BY reason
ORDER BY num_questions DESC, reason
