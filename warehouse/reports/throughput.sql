-- The speed of answering in the run $run_id, by benchmark, encoder, condition and number of items: answer tokens per
-- second without finding and encoding items (the paper's Table 10), with finding and encoding, and in decoding alone;
-- then the mean milliseconds of an answer and of its parts (an equal share of the batch's time). Items are found and
-- encoded once for all conditions; reused answers count with the time they took in the earlier run.
SELECT
    benchmark,
    (
        SELECT any_value(input_fingerprint)
        FROM artefact_input
        WHERE fingerprint = prediction.artefact AND role = 'encoder'
    ) AS encoder,
    (SELECT measured->>'$.reader.name' FROM artefact WHERE fingerprint = prediction.artefact) AS text_reader,
    condition,
    k,
    count(*) AS n,
    sum(answer_tokens) / nullif(sum(seconds), 0) AS tokens_a_second,
    sum(answer_tokens) / nullif(sum(seconds + retrieve_seconds + encode_seconds), 0) AS tokens_a_second_with_items,
    sum(answer_tokens) / nullif(sum(decode_seconds), 0) AS tokens_a_second_in_decoding,
    1000 * avg(seconds) AS answer_ms,
    1000 * avg(retrieve_seconds) AS retrieve_ms,
    1000 * avg(encode_seconds) AS encode_ms,
    1000 * avg(prefill_seconds) AS prefill_ms,
    1000 * avg(decode_seconds) AS decode_ms,
    avg(answer_tokens) AS answer_tokens
FROM prediction
WHERE artefact IN (SELECT fingerprint FROM run_answers WHERE run_id = $run_id)
GROUP BY benchmark, prediction.artefact, condition, k
ORDER BY benchmark, encoder, condition, k
