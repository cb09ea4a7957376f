-- Of the runs of $contaminated_ngram words in the question, the share $contaminated_share or more is in questions of
-- the benchmarks. A question with fewer words is one run. In scripts without spaces, a run has as many characters as
-- make up that many words: two for each word in Chinese and Japanese, four in Thai. A run that the benchmarks, or the
-- drafts, ask about more than $contaminated_pictures pictures is a template and does not count, because it reveals
-- nothing without its picture.
-- Value: the share.
WITH asked AS (
    SELECT question, image_id, question_id AS id, false AS is_benchmark FROM draft
    UNION ALL
    SELECT question, image_id, question_id, true FROM benchmark
),
texts AS MATERIALIZED (
    SELECT
        question,
        terms_of(question) AS terms,
        $contaminated_ngram * greatest(1, round(len(terms) / num_words(question)))::BIGINT AS size,
        bool_or(NOT is_benchmark) AS is_draft,
        bool_or(is_benchmark) AS is_benchmark
    FROM asked
    GROUP BY question
),
runs AS MATERIALIZED (
    SELECT question, is_draft, is_benchmark, unnest(runs_of(terms, size)) AS run FROM texts
),
shared AS MATERIALIZED (
    SELECT run FROM runs GROUP BY run HAVING bool_or(is_draft) AND bool_or(is_benchmark)
),
templates AS (
    SELECT DISTINCT run
    FROM (
        SELECT run
        FROM (SELECT DISTINCT run, question FROM runs SEMI JOIN shared USING (run))
        JOIN asked USING (question)
        GROUP BY run, asked.is_benchmark
        HAVING count(DISTINCT coalesce(image_id, id)) > $contaminated_pictures
    )
),
shares AS (
    SELECT question, avg((told.run IS NOT NULL)::INTEGER) AS share
    FROM (FROM runs WHERE is_draft) AS runs
    LEFT JOIN (FROM shared ANTI JOIN templates USING (run)) AS told USING (run)
    GROUP BY question
)
SELECT sample_id, 'contaminated_question' AS reason, share AS value
FROM draft
JOIN shares USING (question)
WHERE share >= $contaminated_share AND share > 0
