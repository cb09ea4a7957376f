-- The texts of the corpora of the run $run_id that are too short to tell their language alone: how many got which
-- language, and some of them with it.
SELECT
    fingerprint,
    json_extract(measured, '$."uncertain-languages".counts') AS counts,
    json_extract(measured, '$."uncertain-languages".shown') AS shown
FROM artefact
WHERE fingerprint IN (SELECT fingerprint FROM run_stage WHERE run_id = $run_id)
    AND json_exists(measured, '$."uncertain-languages"')
ORDER BY fingerprint
