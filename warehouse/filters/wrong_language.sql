-- Language identification finds another language in the question than the draft should have. A question in which it
-- finds none passes.
-- Value: none.
SELECT sample_id, 'wrong_language' AS reason, NULL::DOUBLE AS value
FROM draft
JOIN verdict USING (sample_id)
WHERE $must_be_in_language AND language_found NOT IN (language, 'und')
