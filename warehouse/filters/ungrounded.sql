-- The answer is in none of the items that were shown, so it was guessed or remembered.
-- Value: always 0.
SELECT sample_id, 'ungrounded' AS reason, 0::DOUBLE AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE $must_be_grounded AND NOT grounded
