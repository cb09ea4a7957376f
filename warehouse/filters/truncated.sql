-- The model reached the token limit before its answer ended.
-- Value: the number of tokens that it wrote.
SELECT sample_id, 'truncated' AS reason, answer_tokens::DOUBLE AS value
FROM draft
WHERE truncated
