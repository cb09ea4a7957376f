-- The drafts of `plan`, with their faults.
SELECT
    '' AS artefact,
    identifier('sample', number) AS sample_id,
    identifier('question', number) AS question_id,
    'answer' AS mode,
    language,
    question,
    identifier('image', picture) AS image_id,
    if(chance(number, 'failed') < 0.04, 'the served model gave no answer in 60 s', NULL) AS error,
    CASE
        WHEN error IS NOT NULL OR chance(number, 'empty') < 0.02 THEN ''
        WHEN chance(number, 'empty') < 0.04 THEN repeat(answer || ' ', 20)
        ELSE answer
    END AS answer,
    'I look at the picture and at what is said of it, and find that it is ' || answer AS answer_raw,
    list_transform([item, (item * 7 + 13) % $num_items, (item * 11 + 29) % $num_items], lambda each: identifier('item', each))
    AS item_ids,
    [0.9, 0.8, 0.7] AS retrieval_scores,
    identifier('prompt', number) AS prompt_hash,
    0 AS seed,
    900 + number % 300 AS prompt_tokens,
    4 + number % 12 AS answer_tokens,
    chance(number, 'truncated') < 0.04 AS truncated,
    0.4 + chance(number, 'seconds') AS seconds,
    'a model' AS model
FROM plan
