-- The files of the corpora that the run $run_id read: rows seen, and what became of them; what was left out, and why. Files
-- left out for one reason are one line; of files that were read, the $limit with the most duplicates and bad rows are shown.
WITH files AS (
    SELECT * FROM corpus_file WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
),
counted AS (
    SELECT
        CASE WHEN reason IS NULL THEN row_number() OVER worst END AS place,
        *
    FROM files
    WINDOW worst AS (PARTITION BY artefact, reason ORDER BY num_bad DESC, num_duplicates DESC, file)
)
SELECT
    CASE WHEN min(place) > $limit THEN 'other files' ELSE min(file) END AS file,
    reason,
    min(detail) AS detail,
    sum(num_files)::BIGINT AS num_files,
    sum(num_rows)::BIGINT AS num_rows,
    sum(num_items)::BIGINT AS num_items,
    sum(num_duplicates)::BIGINT AS num_duplicates,
    sum(num_bad)::BIGINT AS num_bad
FROM counted
GROUP BY artefact, reason, least(place, $limit + 1)
ORDER BY reason NULLS FIRST, min(place)
