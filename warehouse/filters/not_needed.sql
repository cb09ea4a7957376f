-- The model also answers well without any item (its score is $max_without_score or more), so the draft teaches nothing
-- about reading the memory.
-- Value: the score without items.
SELECT sample_id, 'not_needed' AS reason, without_score AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE without_score >= $max_without_score
