-- The ways to search that the run $run_id compared (`warehouse/migrations/0012_tried_searches.sql`); nothing if it compared none.
SELECT tried_search.* EXCLUDE (artefact)
FROM tried_search
JOIN run_stage ON run_stage.fingerprint = tried_search.artefact
WHERE run_stage.run_id = $run_id
ORDER BY place, language NULLS FIRST, k
