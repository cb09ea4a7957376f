-- What a corpus of any kind, a second judging and a translation add. `image_hash` (of brightness) and `image_chroma` (of
-- colour) are 64 bits each: two pictures are as near as the number of bits in which both together differ
-- (comem_core.knowledge.pictures). They are null where there is no picture.
ALTER TABLE knowledge_item ADD COLUMN image_hash BIGINT;
ALTER TABLE knowledge_item ADD COLUMN image_chroma BIGINT;
ALTER TABLE knowledge_item ADD COLUMN file VARCHAR;
ALTER TABLE knowledge_item ADD COLUMN row BIGINT;

ALTER TABLE question ADD COLUMN image_hash BIGINT;
ALTER TABLE question ADD COLUMN image_chroma BIGINT;

-- What the model wrote before the short answer was taken from it; of which sample it is a translation; why there is no
-- answer where a served model gave none.
ALTER TABLE draft ADD COLUMN answer_raw VARCHAR;
ALTER TABLE draft ADD COLUMN translated_from VARCHAR;
ALTER TABLE draft ADD COLUMN error VARCHAR;

-- `language_found` is what language identification says of the question; tokens and seconds are those of judging.
ALTER TABLE verdict ADD COLUMN second_answer VARCHAR;
ALTER TABLE verdict ADD COLUMN consistent BOOLEAN;
ALTER TABLE verdict ADD COLUMN language_found VARCHAR;
ALTER TABLE verdict ADD COLUMN prompt_tokens INTEGER;
ALTER TABLE verdict ADD COLUMN answer_tokens INTEGER;
ALTER TABLE verdict ADD COLUMN seconds DOUBLE;

-- What a stage measured of its own result, by name: the recall of an index, the tokens of a synthesis.
ALTER TABLE artefact ADD COLUMN measured JSON;

-- Which drafts and predictions were shown an item, and at which place (from 1), so that an item's use is found without
-- reading every list of items. The loader fills these with the rows of `draft` and `prediction`.
CREATE TABLE draft_item (
    artefact VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    sample_id VARCHAR NOT NULL,
    place INTEGER NOT NULL
);

CREATE TABLE prediction_item (
    artefact VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL,
    place INTEGER NOT NULL
);
INSERT INTO draft_item
SELECT artefact, unnest(item_ids) AS item_id, sample_id, generate_subscripts(item_ids, 1) FROM draft ORDER BY item_id;
INSERT INTO prediction_item
SELECT artefact, unnest(item_ids) AS item_id, prediction_id, generate_subscripts(item_ids, 1)
FROM prediction
ORDER BY item_id;

-- One id, or a few, are found in a millisecond: the loader keeps the rows of an artefact in order, and these tables, in
-- which lineage looks up many ids at once, have an index. Tables of items have none: there may be tens of millions.
CREATE INDEX draft_by_sample ON draft (sample_id);
CREATE INDEX verdict_by_sample ON verdict (sample_id);
CREATE INDEX drop_by_sample ON drop (sample_id);
CREATE INDEX sample_by_sample ON sample (sample_id);
CREATE INDEX prediction_by_prediction ON prediction (prediction_id);
