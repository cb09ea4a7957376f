-- Of the runs of $contaminated_ngram words in the question, $contaminated_share or more stand in questions of the
-- benchmarks. A question with fewer words is one run; in scripts without spaces a run is of characters.
-- Value: the share.
WITH benchmark_ngrams AS MATERIALIZED (
    SELECT DISTINCT unnest(ngrams_of(terms_of(question), $contaminated_ngram)) AS ngram
    FROM (SELECT DISTINCT question FROM benchmark)
),
ngrams AS (
    SELECT question, unnest(ngrams_of(terms_of(question), $contaminated_ngram)) AS ngram
    FROM (SELECT DISTINCT question FROM draft)
),
shares AS (
    SELECT question, avg((benchmark_ngrams.ngram IS NOT NULL)::INTEGER) AS share
    FROM ngrams
    LEFT JOIN benchmark_ngrams USING (ngram)
    GROUP BY question
)
SELECT sample_id, 'contaminated_question' AS reason, share AS value
FROM draft
JOIN shares USING (question)
WHERE share >= $contaminated_share AND share > 0
