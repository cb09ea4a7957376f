-- What monitoring asks: runs by how they ended, what stages did and what it cost, what was dropped and why, and the last scores.
WITH ended AS (
    SELECT *, row_number() OVER (PARTITION BY flow, recipe_name ORDER BY started DESC, run_id) = 1 AS is_last FROM run
),
done AS (
    SELECT run_stage.*, artefact.num_rows, artefact.num_bytes, artefact.measured
    FROM run_stage
    LEFT JOIN artefact USING (fingerprint)
),
scored AS (
    SELECT score.*
    FROM score
    JOIN artefact ON artefact.fingerprint = score.artefact
    WHERE split IN ('all', 'overall') AND value IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY benchmark, condition, k, metric ORDER BY artefact.created DESC) = 1
)
SELECT 'comem_runs' AS metric, {'flow': flow, 'recipe': recipe_name, 'status': status}::JSON AS labels, count(*)::DOUBLE AS value
FROM ended GROUP BY ALL
UNION ALL
SELECT 'comem_last_run_started_timestamp_seconds', {'flow': flow, 'recipe': recipe_name, 'status': status}::JSON, epoch(started)
FROM ended WHERE is_last
UNION ALL
SELECT 'comem_last_run_seconds', {'flow': flow, 'recipe': recipe_name, 'status': status}::JSON, epoch(ended) - epoch(started)
FROM ended WHERE is_last AND ended IS NOT NULL
UNION ALL
SELECT 'comem_stages', {'stage': stage, 'action': action}::JSON, count(*) FROM done GROUP BY ALL
UNION ALL
SELECT 'comem_stage_seconds', {'stage': stage, 'action': action}::JSON, sum(seconds) FROM done GROUP BY ALL
UNION ALL
SELECT 'comem_stage_rows_made', {'stage': stage}::JSON, sum(num_rows)
FROM done WHERE action IN ('made', 'continued') AND num_rows IS NOT NULL GROUP BY ALL
UNION ALL
SELECT 'comem_stage_tokens', {'stage': stage, 'of': split_part(name, '_', 1)}::JSON, sum(CAST(measured ->> ('$.' || name) AS DOUBLE))
FROM done, (VALUES ('prompt_tokens'), ('answer_tokens')) AS names (name)
WHERE action IN ('made', 'continued') AND measured ->> ('$.' || name) IS NOT NULL GROUP BY ALL
UNION ALL
SELECT 'comem_stage_failures', {'stage': stage, 'reason': regexp_extract(reason, '^\w+')}::JSON, count(*)
FROM done WHERE action = 'failed' GROUP BY ALL
UNION ALL
SELECT 'comem_dropped_drafts', {'reason': reason}::JSON, count(*) FROM drop GROUP BY ALL
UNION ALL
SELECT 'comem_dropped_rows', {'reason': reason}::JSON, count(*) FROM dropped_row GROUP BY ALL
UNION ALL
SELECT 'comem_score', {'benchmark': benchmark, 'condition': condition, 'k': coalesce(k::VARCHAR, ''), 'metric': metric}::JSON, value
FROM scored
ORDER BY ALL
