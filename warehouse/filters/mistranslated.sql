-- A translation that is no longer the same after the way there and back: less than $min_round_trip of the words.
-- Value: the share that came back.
SELECT sample_id, 'mistranslated' AS reason, metric_score AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE judge = 'round_trip' AND metric_score < $min_round_trip
