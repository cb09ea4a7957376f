-- The model gave no answer; the draft's column `error` has the reason.
-- Value: none.
SELECT sample_id, 'failed' AS reason, NULL::DOUBLE AS value
FROM draft
WHERE error IS NOT NULL
