-- For each reason in $reasons for which a draft of $drafts was dropped first, one such draft: what was asked and answered.
WITH first_reason AS (
    SELECT sample_id, arg_min(reason, list_position($reasons, reason)) AS reason
    FROM drop
    WHERE list_contains($drops, artefact) AND list_contains($reasons, reason)
    GROUP BY sample_id
)
SELECT
    reason,
    count(*) AS num_drafts,
    arg_min(question, sample_id) AS question,
    arg_min(coalesce(answer, ''), sample_id) AS answer,
    arg_min(coalesce(error, ''), sample_id) AS error,
    arg_min(coalesce(answer_raw, ''), sample_id) AS answer_raw
FROM draft
JOIN first_reason USING (sample_id)
WHERE list_contains($drafts, draft.artefact)
GROUP BY reason
ORDER BY num_drafts DESC, reason
LIMIT $limit
