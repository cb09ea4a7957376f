-- The training of the weights $weights: its steps, what they saw, and the loss (nats a token) of the first and the last.
SELECT
    count(*) AS steps,
    sum(samples)::BIGINT AS samples,
    sum(tokens)::BIGINT AS tokens,
    arg_min(loss, step) AS firstLoss,
    arg_max(loss, step) AS lastLoss
FROM training_step
WHERE artefact = $weights
