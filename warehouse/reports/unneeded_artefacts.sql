-- The artefacts that nothing rests on which is kept, with when they, or what was made from them, were last used; longest unused first, what was made from others before them.
-- Kept are the last $keep_runs completed runs of each flow, recipe and corpus; runs that go on, and gave a sign of it since $alive_since;
-- the artefacts and runs that $keep names; and what a run used since $unused_since.
WITH RECURSIVE place_of_run AS (
    SELECT run_id, row_number() OVER (
        PARTITION BY flow, recipe_name, recipe ->> '$.knowledge.corpus' ORDER BY started DESC, run_id
    ) AS place
    FROM run
    WHERE status = 'completed'
),
sign_of_run AS (
    SELECT run_id, greatest(run.started, max(run_stage.finished)) AS seen
    FROM run
    LEFT JOIN run_stage USING (run_id)
    WHERE status = 'running'
    GROUP BY run_id, run.started
),
kept_run AS (
    SELECT run_id FROM place_of_run WHERE place <= $keep_runs
    UNION
    SELECT run_id FROM sign_of_run WHERE seen >= $alive_since
    UNION
    SELECT run_id FROM run WHERE list_contains($keep, run_id)
),
use_of_artefact AS (
    SELECT fingerprint, max(finished) AS last_used, bool_or(run_id IN (FROM kept_run)) AS in_kept_run
    FROM run_stage
    GROUP BY ALL
),
own AS (
    SELECT
        fingerprint,
        coalesce(last_used, created) AS last_used,
        coalesce(in_kept_run, false)
        OR coalesce(last_used, created) >= $unused_since
        OR list_contains($keep, fingerprint) AS is_kept
    FROM artefact
    LEFT JOIN use_of_artefact USING (fingerprint)
),
-- Whoever keeps or uses an artefact does so with all that it was made from.
need AS (
    SELECT fingerprint, last_used, is_kept FROM own
    UNION
    SELECT input_fingerprint, last_used, is_kept FROM artefact_input JOIN need USING (fingerprint)
)
SELECT fingerprint, stage, uri, num_bytes, max(last_used) AS last_used
FROM need
JOIN artefact USING (fingerprint)
GROUP BY fingerprint, stage, uri, num_bytes, created
HAVING NOT bool_or(is_kept)
ORDER BY max(last_used), created DESC, fingerprint
