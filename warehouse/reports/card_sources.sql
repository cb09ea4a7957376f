-- The sources and licences of the items ($knowledge) of the kept samples ($kept of $drafts).
WITH kept AS (
    SELECT *
    FROM draft
    WHERE list_contains($drafts, artefact)
        AND sample_id IN (SELECT sample_id FROM sample WHERE list_contains($kept, artefact))
),
used AS (SELECT DISTINCT sample_id, unnest(item_ids) AS item_id FROM kept)
SELECT
    coalesce(source, 'not said') AS source,
    coalesce(licence, 'unknown') AS licence,
    count(DISTINCT item_id) AS items,
    count(DISTINCT sample_id) AS samples
FROM used
JOIN (SELECT * FROM knowledge_item WHERE list_contains($knowledge, artefact)) AS item USING (item_id)
GROUP BY ALL
ORDER BY samples DESC, source, licence
