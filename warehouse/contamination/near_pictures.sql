-- Pairs of a question's picture (`image_id`) and a sample's or item's picture (`other_image_id`) whose hashes differ in
-- at most $near_bits of 128 bits, with the number of bits. Pieces of the hashes find every such pair without comparing
-- all pictures with all.
WITH shown AS MATERIALIZED (
    SELECT image_id, any_value(image_hash) AS image_hash, any_value(image_chroma) AS image_chroma
    FROM other
    WHERE image_id IS NOT NULL
    GROUP BY image_id
),
asked AS MATERIALIZED (
    SELECT image_id, any_value(image_hash) AS image_hash, any_value(image_chroma) AS image_chroma
    FROM question
    WHERE image_id IS NOT NULL
    GROUP BY image_id
),
pieces AS (
    SELECT *, unnest(picture_pieces(image_hash, image_chroma, $near_bits)) AS piece
    FROM shown
    WHERE image_hash IS NOT NULL AND image_chroma IS NOT NULL
),
asked_pieces AS (
    SELECT *, unnest(picture_pieces(image_hash, image_chroma, $near_bits)) AS piece
    FROM asked
    WHERE image_hash IS NOT NULL AND image_chroma IS NOT NULL
)
SELECT
    one.image_id,
    two.image_id AS other_image_id,
    bits_between(one.image_hash, one.image_chroma, two.image_hash, two.image_chroma) AS bits
FROM asked_pieces AS one
JOIN pieces AS two USING (piece)
WHERE bits <= $near_bits
UNION
SELECT image_id, image_id, 0 FROM asked SEMI JOIN shown USING (image_id)
