-- The cost of the kept samples ($kept of $drafts), including dropped drafts and judging ($verdicts): tokens and seconds
-- in total and for each kept sample. The last row is the total.
WITH judged AS (
    SELECT sample_id, prompt_tokens, answer_tokens, seconds FROM verdict WHERE list_contains($verdicts, artefact)
),
spent AS (
    SELECT
        draft.mode,
        draft.error IS NOT NULL AS failed,
        draft.sample_id IN (SELECT sample_id FROM sample WHERE list_contains($kept, artefact)) AS kept,
        coalesce(draft.prompt_tokens, 0) + coalesce(judged.prompt_tokens, 0) AS prompt_tokens,
        coalesce(draft.answer_tokens, 0) + coalesce(judged.answer_tokens, 0) AS answer_tokens,
        coalesce(draft.seconds, 0) + coalesce(judged.seconds, 0) AS seconds
    FROM draft
    LEFT JOIN judged USING (sample_id)
    WHERE list_contains($drafts, draft.artefact)
)
SELECT
    coalesce(mode, 'all') AS mode,
    count(*) AS drafts,
    count(*) FILTER (failed) AS failures,
    count(*) FILTER (kept) AS samples,
    sum(prompt_tokens)::BIGINT AS prompt_tokens,
    sum(answer_tokens)::BIGINT AS answer_tokens,
    sum(seconds) AS seconds,
    sum(prompt_tokens) / nullif(count(*) FILTER (kept), 0) AS prompt_tokens_per_sample,
    sum(answer_tokens) / nullif(count(*) FILTER (kept), 0) AS answer_tokens_per_sample,
    sum(seconds) / nullif(count(*) FILTER (kept), 0) AS seconds_per_sample
FROM spent
GROUP BY GROUPING SETS ((mode), ())
ORDER BY grouping(spent.mode), mode
