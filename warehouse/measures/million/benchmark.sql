-- A benchmark that shows every 25th picture, with one bit changed, and asks 4 % of the questions.
SELECT
    '' AS artefact,
    identifier('benchmark', number) AS question_id,
    'held out' AS benchmark,
    'test' AS split,
    language,
    if(chance(plain_question, 'held out') < 0.04, plain_question, 'Who sings the ' || number::VARCHAR || 'th song of the opera on this stage?') AS question,
    identifier('benchmark image', number) AS image_id,
    xor(
        picture_bits(picture, 'hash'),
        if(picture % 25 = 7, 1, (md5_number_lower('other' || number::VARCHAR) // 2)::BIGINT)
    ) AS image_hash,
    picture_bits(picture, 'chroma') AS image_chroma
FROM plan
WHERE number % 50 = 0 OR picture % 25 = 7 OR chance(plain_question, 'held out') < 0.04
