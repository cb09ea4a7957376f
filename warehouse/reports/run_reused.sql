-- The stages of run $run_id of which it made nothing, or not all, itself.
SELECT DISTINCT stage
FROM run_stage
WHERE run_id = $run_id AND action IN ('reused', 'continued')
ORDER BY stage
