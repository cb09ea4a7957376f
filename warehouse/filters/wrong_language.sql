-- Language identification finds another language in the question than the draft's language. A question whose language
-- it cannot identify passes.
-- Value: none.
SELECT sample_id, 'wrong_language' AS reason, NULL::DOUBLE AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE $must_be_in_language AND language_found NOT IN (language, 'und')
