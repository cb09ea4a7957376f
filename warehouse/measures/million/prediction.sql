-- The predictions from $first to $last - 1: five conditions for each question, with three items each.
SELECT
    '' AS artefact,
    identifier('prediction', number) AS prediction_id,
    'held out' AS benchmark,
    identifier('benchmark', number // 5) AS question_id,
    'test' AS split,
    ['none', 'text', 'memory', 'shuffled', 'empty'][1 + number % 5] AS condition,
    3 AS k,
    list_transform(
        [number // 5 % $num_items, (number * 7 + 13) % $num_items, (number * 11 + 29) % $num_items],
        lambda each: identifier('item', each)
    ) AS item_ids,
    'It is ' || number AS answer_raw,
    number::VARCHAR AS answer,
    (number % 3 = 0)::DOUBLE AS correct,
    900 AS prompt_tokens,
    24 AS memory_vectors,
    5 AS answer_tokens,
    false AS truncated,
    0.3 AS seconds
FROM range($first, $last) AS numbers (number)
