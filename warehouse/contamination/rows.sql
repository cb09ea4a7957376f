-- The rows of the table contamination for one source, from `near_picture` and `near_words`. A question gets the nearest
-- sample or item of each kind.
WITH pictured AS (
    SELECT question_id, question.question AS asked, other_id, other.words, bits
    FROM question
    JOIN near_picture USING (image_id)
    JOIN other ON other.image_id = near_picture.other_image_id
),
both_near AS (
    SELECT question_id, arg_min(other_id, (-share, other_id)) AS other_id, max(share) AS value
    FROM pictured
    JOIN near_words USING (asked, words)
    GROUP BY question_id
),
image_near AS (
    SELECT question_id, arg_min(other_id, (bits, other_id)) AS other_id, min(bits) AS value
    FROM pictured
    GROUP BY question_id
),
words_near AS (
    SELECT question_id, arg_min(other_id, (-alone, other_id)) AS other_id, max(alone) AS value
    FROM question
    JOIN near_words ON near_words.asked = question.question
    JOIN other USING (words)
    WHERE alone >= $min_share
    GROUP BY question_id
)
SELECT question_id, $source AS source, kind, other_id, value::DOUBLE AS value
FROM (
    SELECT question_id, 'both' AS kind, other_id, value FROM both_near
    UNION ALL
    SELECT question_id, 'image', other_id, value FROM image_near ANTI JOIN both_near USING (question_id)
    UNION ALL
    SELECT question_id, 'question', other_id, value FROM words_near ANTI JOIN both_near USING (question_id)
)
