-- The scores $scores of whole splits, by benchmark, condition and number of items; shares of 1.
SELECT benchmark, split, condition, k, metric, value, low, high, n
FROM score
WHERE artefact = $scores
    AND NOT contains(split, '/')
ORDER BY benchmark, split, condition, k, metric
