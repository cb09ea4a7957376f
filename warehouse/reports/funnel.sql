-- How the drafts of $drafts are reduced by the drops of $drops: all drafts, then each reason in the order $reasons (how
-- many drafts it was the first to drop, and how many it drops in all), then the kept drafts.
WITH draft_ids AS MATERIALIZED (
    SELECT sample_id FROM draft WHERE list_contains($drafts, artefact)
),
reason_order AS (
    SELECT unnest($reasons) AS reason, generate_subscripts($reasons, 1) AS place
),
drops AS MATERIALIZED (
    SELECT sample_id, reason, coalesce(place, 1000) AS place
    FROM drop
    SEMI JOIN draft_ids USING (sample_id)
    LEFT JOIN reason_order USING (reason)
    WHERE list_contains($drops, artefact)
),
first_reason AS (
    SELECT reason, count(*) AS first
    FROM (SELECT arg_min(reason, place) AS reason FROM drops GROUP BY sample_id)
    GROUP BY reason
),
any_reason AS (
    SELECT reason, place, count(DISTINCT sample_id) AS total FROM drops GROUP BY reason, place
),
lines AS (
    SELECT 'drafts' AS reason, 0 AS first, (SELECT count(*) FROM draft_ids) AS total, -1 AS place
    UNION ALL
    SELECT reason, coalesce(first, 0), coalesce(total, 0), coalesce(any_reason.place, reason_order.place)
    FROM any_reason
    FULL JOIN reason_order USING (reason)
    LEFT JOIN first_reason USING (reason)
    UNION ALL
    SELECT 'kept', 0, (SELECT count(*) FROM draft_ids ANTI JOIN drops USING (sample_id)), 2000
)
SELECT reason, first, total FROM lines ORDER BY place, reason
