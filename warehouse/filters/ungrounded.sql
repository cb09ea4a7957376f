-- The answer is in none of the items that were shown, so the model guessed or remembered it.
-- Value: always 0.
SELECT sample_id, 'ungrounded' AS reason, 0::DOUBLE AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE $must_be_grounded AND NOT grounded
