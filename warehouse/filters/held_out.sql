-- Set aside for scoring: of what questions are about, a hash picks a share of $held_out_share, and one thing at least, that
-- is never trained on but asked as the corpus's own benchmark. Only drafts that no earlier filter dropped are taken.
-- Value: the place that the hash gives, from 0 to 1.
WITH placed AS (
    SELECT
        remaining.sample_id,
        ('0x' || left(sha256(coalesce(question.entity_id, question.gold_item_id, question.image_id)), 8))::UBIGINT
            / 4294967296.0 AS place
    FROM remaining
    JOIN question USING (question_id)
),
ends AS (
    SELECT min(place) AS first, max(place) AS last FROM placed
)
SELECT sample_id, 'held_out' AS reason, place AS value
FROM placed
CROSS JOIN ends
WHERE place < $held_out_share OR (place = first AND first < last)
