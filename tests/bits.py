"""How far two pictures' hashes are apart, counted here apart from the SQL that the warehouse compares them with."""


def bits_apart(a: tuple[int, int], b: tuple[int, int]) -> int:
    """Count in how many of 128 bits two pictures' hashes differ; 0 is equal to the eye."""
    return sum(((x ^ y) & 0xFFFF_FFFF_FFFF_FFFF).bit_count() for x, y in zip(a, b, strict=True))
