-- The reader's answers to $questions in the run $run_id under each condition (with the largest number of items).
SELECT question_id, benchmark, prediction_id, condition, k, answer, correct, prompt_tokens, memory_vectors, truncated
FROM prediction
WHERE artefact IN (SELECT fingerprint FROM run_answers WHERE run_id = $run_id) AND list_contains($questions, question_id)
QUALIFY row_number() OVER (PARTITION BY benchmark, question_id, condition ORDER BY k DESC, prediction_id) = 1
ORDER BY question_id, condition
