-- The cost of the samples of the run $run_id, by mode and language, then in total (mode and language null): the numbers
-- of drafts, of failed drafts (no answer) and of kept ones; the tokens and seconds of drafting and judging together;
-- and the same for each kept sample, with the cost of failed and dropped drafts included (null if no sample was kept).
WITH used AS (
    SELECT fingerprint FROM run_stage WHERE run_id = $run_id
),
judging AS (
    SELECT
        sample_id,
        sum(prompt_tokens) AS prompt_tokens,
        sum(answer_tokens) AS answer_tokens,
        sum(seconds) AS seconds
    FROM verdict
    WHERE artefact IN (FROM used)
    GROUP BY sample_id
),
costs AS (
    SELECT
        mode,
        language,
        error IS NOT NULL AS is_failed,
        kept.sample_id IS NOT NULL AS is_kept,
        coalesce(draft.prompt_tokens, 0) + coalesce(judging.prompt_tokens, 0) AS prompt_tokens,
        coalesce(draft.answer_tokens, 0) + coalesce(judging.answer_tokens, 0) AS answer_tokens,
        coalesce(draft.seconds, 0) + coalesce(judging.seconds, 0) AS seconds
    FROM draft
    LEFT JOIN judging USING (sample_id)
    LEFT JOIN (SELECT DISTINCT sample_id FROM sample WHERE artefact IN (FROM used)) AS kept USING (sample_id)
    WHERE artefact IN (FROM used)
)
SELECT
    mode,
    language,
    count(*) AS num_drafts,
    count_if(is_failed)::BIGINT AS num_failed,
    count_if(is_kept)::BIGINT AS num_kept,
    sum(prompt_tokens)::BIGINT AS prompt_tokens,
    sum(answer_tokens)::BIGINT AS answer_tokens,
    sum(seconds) AS seconds,
    sum(prompt_tokens + answer_tokens) / nullif(count_if(is_kept), 0) AS tokens_a_sample,
    sum(seconds) / nullif(count_if(is_kept), 0) AS seconds_a_sample,
    count_if(is_failed) / nullif(count_if(is_kept), 0) AS failures_a_sample
FROM costs
GROUP BY GROUPING SETS ((mode, language), ())
ORDER BY grouping(mode), mode, language
