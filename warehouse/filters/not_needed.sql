-- The model answers as well without any item (it scores $max_without_score or more alone), so the draft teaches nothing
-- about reading the memory.
-- Value: the score it reaches alone.
SELECT sample_id, 'not_needed' AS reason, without_score AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE without_score >= $max_without_score
