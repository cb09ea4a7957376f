-- Input rows that the run $run_id could not use, by reason, with one example each.
SELECT reason, count(*) AS num_rows, min(file || ', row ' || coalesce(row::VARCHAR, '?')) AS example, min(detail) AS detail
FROM dropped_row
WHERE artefact IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
GROUP BY reason
ORDER BY num_rows DESC, reason
