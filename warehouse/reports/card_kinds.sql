-- The $limit most frequent kinds of kept samples ($kept of $drafts): how they were made and what they ask about.
WITH kept AS (
    SELECT *
    FROM draft
    WHERE list_contains($drafts, artefact)
        AND sample_id IN (SELECT sample_id FROM sample WHERE list_contains($kept, artefact))
),
asked AS (
    SELECT DISTINCT ON (question_id) question_id, origin, attribute, question_type
    FROM question
    WHERE list_contains($questions, artefact)
)
SELECT mode, origin, coalesce(attribute, 'not said') AS kind, question_type, count(*) AS samples
FROM kept
LEFT JOIN asked USING (question_id)
GROUP BY ALL
ORDER BY samples DESC, mode, origin, kind, question_type
LIMIT $limit
