-- The scores of one evaluation by condition, number of items, split and metric; shares of 1.
SELECT condition, k, split, metric, value, low, high, n, prompt_tokens_mean
FROM score
WHERE artefact = $scores
ORDER BY condition, k, split, metric
