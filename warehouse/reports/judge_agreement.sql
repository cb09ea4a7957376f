-- How far a judge agrees with the official metric in one evaluation, over all and by condition; shares of 1.
SELECT * EXCLUDE (artefact, benchmark)
FROM agreement
WHERE artefact = $scores
ORDER BY condition NULLS FIRST, k
