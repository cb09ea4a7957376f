-- An earlier draft (one with a smaller sample_id) asks nearly the same about nearly the same picture: of the distinct
-- words of the two questions, the share $near_duplicate_similarity or more is in both, and the pictures differ in at
-- most $near_duplicate_bits of 128 bits. Questions with other numbers, units or signs (3.5 m and 35 m, mW and MW, C++
-- and C#) are different. Drafts without a picture are compared if they are about the same item. Only drafts that no earlier filter
-- dropped are compared.
-- Value: the share of words that the first such draft has in common with this one.
-- This finds all of them: pieces of the pictures' hashes find every near pair, and two sets of words differ in at least
-- as many words as their signatures (one of 63 bits for each word) differ in bits.
WITH drafts AS MATERIALIZED (
    SELECT
        remaining.sample_id,
        remaining.question,
        image_hash,
        image_chroma,
        CASE
            WHEN image_hash IS NOT NULL AND image_chroma IS NOT NULL THEN image_hash || ' ' || image_chroma
            WHEN remaining.image_id IS NOT NULL THEN 'image ' || remaining.image_id
            ELSE 'item ' || coalesce(gold_item_id, remaining.item_ids[1])
        END AS name
    FROM remaining
    LEFT JOIN question USING (question_id)
),
subjects AS MATERIALIZED (
    SELECT row_number() OVER () AS subject, name, image_hash, image_chroma
    FROM (
        SELECT name, any_value(image_hash) AS image_hash, any_value(image_chroma) AS image_chroma
        FROM drafts
        WHERE name IS NOT NULL
        GROUP BY name
    )
),
texts AS MATERIALIZED (
    SELECT
        row_number() OVER () AS text,
        question,
        list_distinct(list_transform(terms_of(question), lambda term: hash(term))) AS terms,
        [telling_terms(question), list_sort(cased_units(question))] AS telling,
        len(terms) AS num_terms,
        list_bit_or(list_transform(terms, lambda term: 1::BIGINT << (term % 63)::BIGINT)) AS signature
    FROM (SELECT DISTINCT question FROM drafts)
),
numbered AS MATERIALIZED (
    SELECT sample_id, subject, text
    FROM drafts
    JOIN subjects USING (name)
    JOIN texts USING (question)
),
-- A cell is one text about one subject; this filter treats its drafts alike.
cells AS MATERIALIZED (
    SELECT row_number() OVER () AS cell, subject, text, num_terms, signature, first_sample
    FROM (SELECT subject, text, min(sample_id) AS first_sample FROM numbered GROUP BY ALL)
    JOIN texts USING (text)
    WHERE num_terms > 0
),
pieces AS MATERIALIZED (
    SELECT
        subject,
        image_hash,
        image_chroma,
        unnest(picture_pieces(image_hash, image_chroma, $near_duplicate_bits)) AS piece
    FROM subjects
    WHERE image_hash IS NOT NULL AND image_chroma IS NOT NULL
),
near_subjects AS MATERIALIZED (
    SELECT subject, subject AS other FROM subjects
    UNION
    SELECT one.subject, two.subject
    FROM pieces AS one
    JOIN pieces AS two USING (piece)
    WHERE one.subject <> two.subject
        AND bits_between(one.image_hash, one.image_chroma, two.image_hash, two.image_chroma) <= $near_duplicate_bits
),
-- Materialised, so that words are compared only if the signatures allow it; the optimiser would do both in the join.
candidates AS MATERIALIZED (
    SELECT one.cell AS cell, two.cell AS other, one.text AS text, two.text AS other_text
    FROM cells AS one
    JOIN near_subjects USING (subject)
    JOIN cells AS two ON two.subject = near_subjects.other
    WHERE one.cell < two.cell
        AND bit_count(xor(one.signature, two.signature))
        <= (one.num_terms + two.num_terms) * (1 - $near_duplicate_similarity) / (1 + $near_duplicate_similarity) + 1e-9
),
similarities AS (
    SELECT cell, other, len(list_intersect(one.terms, two.terms)) AS num_shared,
        num_shared / (one.num_terms + two.num_terms - num_shared) AS similarity
    FROM candidates
    JOIN texts AS one USING (text)
    JOIN texts AS two ON two.text = candidates.other_text AND two.telling = one.telling
    WHERE similarity >= $near_duplicate_similarity
),
earliest AS (
    SELECT cell, min(first_sample) AS first_sample, arg_min(similarity, first_sample) AS similarity
    FROM (
        SELECT cell, first_sample, 1::DOUBLE AS similarity FROM cells
        UNION ALL
        SELECT similarities.cell, cells.first_sample, similarity
        FROM similarities
        JOIN cells ON cells.cell = similarities.other
        UNION ALL
        SELECT similarities.other, cells.first_sample, similarity
        FROM similarities
        JOIN cells ON cells.cell = similarities.cell
    )
    GROUP BY cell
)
SELECT numbered.sample_id, 'near_duplicate' AS reason, earliest.similarity AS value
FROM numbered
JOIN cells USING (subject, text)
JOIN earliest USING (cell)
WHERE earliest.first_sample < numbered.sample_id
