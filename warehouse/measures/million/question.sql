-- The question of each draft in `plan`.
SELECT
    '' AS artefact,
    identifier('question', number) AS question_id,
    'million' AS benchmark,
    'train' AS split,
    language,
    question,
    identifier('image', picture) AS image_id,
    [answer] AS answers,
    'string' AS question_type,
    attribute,
    'entity ' || picture // 20 AS entity_id,
    identifier('item', item) AS gold_item_id,
    'seed' AS origin,
    xor(picture_bits(picture, 'hash'), if(is_near, 16, 0)::BIGINT) AS image_hash,
    picture_bits(picture, 'chroma') AS image_chroma
FROM plan
