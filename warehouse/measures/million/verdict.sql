-- A verdict on each draft in `plan`, except 4 % of them. Every tenth is of a translation.
SELECT
    '' AS artefact,
    identifier('sample', number) AS sample_id,
    if(chance(number, 'translated') < 0.1, 'round_trip', 'infoseek') AS judge,
    if(
        chance(number, 'translated') < 0.1,
        if(chance(number, 'round trip') < 0.04, 0.25, 0.75),
        (chance(number, 'wrong') >= 0.04)::DOUBLE
    ) AS metric_score,
    'I do not know' AS answer_without_items,
    (chance(number, 'needed') < 0.04)::DOUBLE AS without_score,
    chance(number, 'grounded') >= 0.04 AS grounded,
    answer AS second_answer,
    chance(number, 'consistent') >= 0.04 AS consistent,
    if(chance(number, 'language') < 0.04, 'tr', language) AS language_found,
    900 AS prompt_tokens,
    8 AS answer_tokens,
    0.5 AS seconds
FROM plan
WHERE chance(number, 'unjudged') >= 0.04
