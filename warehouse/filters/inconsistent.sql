-- The model was asked twice with the same items and gave two different answers.
-- Value: always 0.
SELECT sample_id, 'inconsistent' AS reason, 0::DOUBLE AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE $must_be_consistent AND NOT consistent
