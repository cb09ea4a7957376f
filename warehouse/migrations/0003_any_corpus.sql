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
