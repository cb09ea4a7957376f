-- The answer scores below $min_metric_score against the gold answers, by the benchmark's own metric. A question without
-- gold answers has no score and passes; a translation has another kind of score (mistranslated).
-- Value: the score.
SELECT sample_id, 'wrong' AS reason, metric_score AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE metric_score < $min_metric_score AND judge IS DISTINCT FROM 'round_trip'
