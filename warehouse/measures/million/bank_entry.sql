-- The bank's entries for the knowledge items from $first to $last - 1.
SELECT '' AS artefact, identifier('item', number) AS item_id, number AS row
FROM range($first, $last) AS numbers (number)
