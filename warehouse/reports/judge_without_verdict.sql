-- The replies of a judge that are neither of the two words, and the errors of failed requests, with their numbers.
SELECT
    coalesce(verdict, 'failed') AS kind,
    coalesce(reply, error) AS said,
    sum(len(prediction_ids))::BIGINT AS num_answers
FROM judgement
WHERE artefact = $judgements AND verdict IS DISTINCT FROM 'correct' AND verdict IS DISTINCT FROM 'incorrect'
GROUP BY ALL
ORDER BY num_answers DESC, said
LIMIT $limit
