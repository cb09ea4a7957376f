-- Which models wrote the drafts $drafts, with which seed, and how many of theirs $kept keeps.
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
