-- The models that wrote the drafts $drafts, with their seeds, and how many of these drafts were kept ($kept).
SELECT
    mode,
    model,
    seed,
    count(*) AS drafts,
    count(*) FILTER (sample_id IN (SELECT sample_id FROM sample WHERE list_contains($kept, artefact))) AS samples
FROM draft
WHERE list_contains($drafts, artefact)
GROUP BY ALL
ORDER BY drafts DESC, mode, model, seed
