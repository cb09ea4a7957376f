-- The judge gave no verdict on this draft, so its quality is unknown.
-- Value: none.
SELECT sample_id, 'unjudged' AS reason, NULL::DOUBLE AS value
FROM draft
ANTI JOIN verdict USING (sample_id)
