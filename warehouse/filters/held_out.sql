-- Held out for scoring: a hash chooses the share $held_out_share of the things that questions are about (but at least
-- five things, or half of them if there are few). Drafts about them are never trained on, and are asked as the corpus's
-- own benchmark. Only drafts that no earlier filter dropped are taken.
-- Value: the place that the hash gives, from 0 to 1.
WITH placed AS (
    SELECT
        remaining.sample_id,
        ('0x' || left(sha256(coalesce(question.entity_id, question.gold_item_id, question.image_id)), 8))::UBIGINT
            / 4294967296.0 AS place
    FROM remaining
    JOIN question USING (question_id)
),
ranked AS (
    SELECT
        *,
        dense_rank() OVER (ORDER BY place) AS position,
        (SELECT count(DISTINCT place) FROM placed) AS num_things
    FROM placed
)
SELECT sample_id, 'held_out' AS reason, place AS value
FROM ranked
WHERE place < $held_out_share OR position <= least(5, num_things // 2)
