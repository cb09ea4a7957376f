-- Of the runs of $contaminated_ngram words in the question, $contaminated_share or more stand in questions of the
-- benchmarks. A question with fewer words is one run. In scripts without spaces a run has as many characters as make up
-- that many words, two each in Chinese and Japanese, four in Thai.
-- Value: the share.
WITH texts AS (
    SELECT
        question,
        terms_of(question) AS terms,
        $contaminated_ngram * greatest(1, round(len(terms) / num_words(question)))::BIGINT AS size,
        bool_or(is_draft) AS is_draft,
        bool_or(NOT is_draft) AS is_benchmark
    FROM (SELECT question, true AS is_draft FROM draft UNION ALL SELECT question, false FROM benchmark)
    GROUP BY question
),
runs AS MATERIALIZED (
    SELECT question, is_draft, is_benchmark, unnest(runs_of(terms, size)) AS run FROM texts
),
shares AS (
    SELECT question, avg((benchmark_runs.run IS NOT NULL)::INTEGER) AS share
    FROM (FROM runs WHERE is_draft) AS runs
    LEFT JOIN (SELECT DISTINCT run FROM runs WHERE is_benchmark) AS benchmark_runs USING (run)
    GROUP BY question
)
SELECT sample_id, 'contaminated_question' AS reason, share AS value
FROM draft
JOIN shares USING (question)
WHERE share >= $contaminated_share AND share > 0
