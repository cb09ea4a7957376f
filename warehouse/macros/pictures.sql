-- Two pictures are as near as the number of bits in which their hashes (64 of brightness, 64 of colour) differ.
CREATE OR REPLACE TEMP MACRO bits_between(image_hash, image_chroma, other_hash, other_chroma) AS
    bit_count(xor(image_hash, other_hash))::INTEGER + bit_count(xor(image_chroma, other_chroma))::INTEGER;
-- The 128 bits cut in `bits` + 1 pieces: of two pictures that differ in at most `bits` bits, one piece at least is equal.
CREATE OR REPLACE TEMP MACRO picture_pieces(image_hash, image_chroma, bits) AS list_transform(
    range(bits + 1),
    lambda place: place || ':' || substring(
        lpad(bin(image_hash), 64, '0') || lpad(bin(image_chroma), 64, '0'),
        1 + place * 128 // (bits + 1),
        (place + 1) * 128 // (bits + 1) - place * 128 // (bits + 1)
    )
);
