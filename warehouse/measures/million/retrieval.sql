-- The items retrieved for the question of each draft in `plan`.
SELECT
    '' AS artefact,
    identifier('question', number) AS question_id,
    list_transform([item, (item * 7 + 13) % $num_items, (item * 11 + 29) % $num_items], lambda each: identifier('item', each))
    AS item_ids,
    [0.9, 0.8, 0.7] AS scores
FROM plan
