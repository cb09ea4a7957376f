-- A translation that has less than the share $min_round_trip of the original's words after it was translated back.
-- Value: the share of words that came back.
SELECT sample_id, 'mistranslated' AS reason, metric_score AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE judge = 'round_trip' AND metric_score < $min_round_trip
