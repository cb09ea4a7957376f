-- The question's picture differs in at most $contaminated_bits of 128 bits from a picture that a benchmark asks about.
-- Value: the number of bits.
WITH pictures AS MATERIALIZED (
    SELECT image_hash, image_chroma, unnest(picture_pieces(image_hash, image_chroma, $contaminated_bits)) AS piece
    FROM (
        SELECT DISTINCT image_hash, image_chroma
        FROM question
        WHERE image_hash IS NOT NULL AND image_chroma IS NOT NULL
    )
),
benchmark_pictures AS MATERIALIZED (
    SELECT image_hash, image_chroma, unnest(picture_pieces(image_hash, image_chroma, $contaminated_bits)) AS piece
    FROM (
        SELECT DISTINCT image_hash, image_chroma
        FROM benchmark
        WHERE image_hash IS NOT NULL AND image_chroma IS NOT NULL
    )
),
near AS (
    SELECT
        asked.image_hash,
        asked.image_chroma,
        min(bits_between(asked.image_hash, asked.image_chroma, shown.image_hash, shown.image_chroma)) AS bits
    FROM pictures AS asked
    JOIN benchmark_pictures AS shown USING (piece)
    WHERE bits_between(asked.image_hash, asked.image_chroma, shown.image_hash, shown.image_chroma) <= $contaminated_bits
    GROUP BY ALL
),
found AS (
    SELECT sample_id, bits
    FROM draft
    JOIN question USING (question_id)
    JOIN near USING (image_hash, image_chroma)
    UNION ALL
    SELECT sample_id, 0 FROM draft WHERE image_id IN (SELECT image_id FROM benchmark WHERE image_id IS NOT NULL)
)
SELECT sample_id, 'contaminated_image' AS reason, min(bits)::DOUBLE AS value
FROM found
GROUP BY sample_id
