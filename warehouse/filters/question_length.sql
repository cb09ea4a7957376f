-- The question is shorter than $min_question_words words or longer than $max_question_words words; in scripts without
-- spaces, words are counted as in answers.
-- Value: the number of words.
WITH texts AS (
    SELECT question, num_words(question) AS num_words FROM (SELECT DISTINCT question FROM draft)
)
SELECT sample_id, 'question_length' AS reason, num_words::DOUBLE AS value
FROM draft
JOIN texts USING (question)
WHERE num_words NOT BETWEEN $min_question_words AND $max_question_words
