-- The knowledge items from $first to $last - 1.
SELECT
    '' AS artefact,
    identifier('item', number) AS item_id,
    identifier('image', number // 5) AS image_id,
    'A place of which this is told: ' || repeat('it lies by a river and has ' || number || ' houses. ', 8) AS text,
    'en' AS language,
    'million' AS source,
    'CC0-1.0' AS licence,
    named('en', number // 100) AS title
FROM range($first, $last) AS numbers (number)
