-- The differences between the conditions of one evaluation, on the same questions; shares of 1.
SELECT first, second, k, split, value, low, high, p_adjusted, word, n, changed, needed
FROM difference
WHERE artefact = $scores AND before IS NULL
ORDER BY k, first, second, split
