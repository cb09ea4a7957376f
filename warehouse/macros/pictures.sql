-- The distance of two pictures: the number of bits in which their hashes (64 of brightness, 64 of colour) differ.
CREATE OR REPLACE TEMP MACRO bits_between(image_hash, image_chroma, other_hash, other_chroma) AS
    bit_count(xor(image_hash, other_hash))::INTEGER + bit_count(xor(image_chroma, other_chroma))::INTEGER;
-- Cuts the 128 bits into `bits` + 1 pieces, so that two pictures that differ in at most `bits` bits share at least one
-- piece. Each piece has a part of both hashes, because many pictures share whole parts of their colour hash.
CREATE OR REPLACE TEMP MACRO bits_from(word, first, last) AS
    substring(lpad(bin(word), 64, '0'), (1 + first)::BIGINT, (last - first)::BIGINT);
CREATE OR REPLACE TEMP MACRO picture_pieces(image_hash, image_chroma, bits) AS list_transform(
    range(bits + 1),
    lambda place: place || ':'
        || bits_from(image_hash, place * 64 // (bits + 1), (place + 1) * 64 // (bits + 1))
        || bits_from(image_chroma, place * 64 // (bits + 1), (place + 1) * 64 // (bits + 1))
);
