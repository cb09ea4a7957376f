-- The answer is empty, or longer than $max_answer_words words. In scripts without spaces, two characters of Chinese or
-- Japanese, or four of Thai, count as a word.
-- Value: the number of words.
SELECT sample_id, 'empty_or_long' AS reason, num_words::DOUBLE AS value
FROM (SELECT sample_id, num_words(answer) AS num_words FROM draft)
WHERE num_words = 0 OR num_words > $max_answer_words
