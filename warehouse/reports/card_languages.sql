-- The kept samples ($kept of $drafts) by language, and how often language identification finds the same language, none,
-- or another one.
WITH kept AS (
    SELECT *
    FROM draft
    WHERE list_contains($drafts, artefact)
        AND sample_id IN (SELECT sample_id FROM sample WHERE list_contains($kept, artefact))
)
SELECT
    language,
    count(*) AS samples,
    count(*) FILTER (language_found = language) AS identified_as_it,
    count(*) FILTER (coalesce(language_found, 'und') = 'und') AS not_identified,
    count(*) FILTER (language_found <> language AND language_found <> 'und') AS identified_as_another
FROM kept
LEFT JOIN (SELECT sample_id, language_found FROM verdict WHERE list_contains($verdicts, artefact)) USING (sample_id)
GROUP BY language
ORDER BY samples DESC, language
