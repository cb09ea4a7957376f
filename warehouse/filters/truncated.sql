-- The model ran out of room before it ended its answer.
-- Value: the number of tokens it had written.
SELECT sample_id, 'truncated' AS reason, answer_tokens::DOUBLE AS value
FROM draft
WHERE truncated
