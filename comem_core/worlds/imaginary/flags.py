"""Imaginary flags: a design is drawn at random, then rendered by different "artists".

Two renderings of one design are different pictures of one flag, as in different icon sets: they differ in palette,
proportions, corners, margins and emblem detail. Independent of countries and models.
"""

import io
import math
from dataclasses import dataclass, field, replace
from random import Random

from PIL import Image, ImageDraw, ImageFilter

# The usual colours of national flags (RGB), before an artist's palette shifts them.
PALETTE = (
    (206, 17, 38), (0, 56, 168), (0, 122, 61), (255, 205, 0), (255, 255, 255), (0, 0, 0),
    (242, 127, 12), (117, 170, 219), (122, 20, 40), (0, 40, 90), (0, 160, 150), (110, 60, 140),
)  # fmt: skip
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Design:
    """What is the same for every artist: the field, the charges on it, and their colours (indices into PALETTE)."""

    field_kind: str
    colours: tuple[int, ...]
    weights: tuple[float, ...]
    charges: tuple["Charge", ...] = ()


@dataclass(frozen=True)
class Charge:
    """One shape on the field. `x`, `y`, `size` are fractions of the flag's width, height and height."""

    kind: str
    colour: int
    x: float
    y: float
    size: float
    points: int = 5
    parts: tuple["Charge", ...] = field(default=())


@dataclass(frozen=True)
class Artist:
    """How one picture is drawn: everything that does not matter for recognising the flag."""

    aspect: float
    shift: tuple[tuple[int, int, int], ...]
    corner: float
    margin: float
    charge_scale: float
    charge_turn: float
    simplified: bool
    shade: float
    border: bool
    blur: float


def draw_design(random: Random) -> Design:
    """Draw a design: a field of one to nine parts, and usually up to three charges."""
    kinds = (
        "horizontal", "vertical", "plain", "nordic", "cross", "saltire", "diagonal", "quartered", "hoist", "canton",
        "jack",
    )  # fmt: skip
    kind = random.choices(kinds, weights=(10, 6, 6, 3, 2, 2, 3, 1, 5, 3, 3))[0]
    num_parts = {"horizontal": random.choice((2, 3, 3, 3, 4, 5, 7, 9)), "vertical": random.choice((2, 3, 3, 3))}.get(
        kind, random.choice((2, 3, 4))
    )
    pool = random.sample(range(len(PALETTE)), k=min(len(PALETTE), 4))
    colours = _draw_stripe_colours(random, pool, num_parts)
    weights = tuple(random.choice((1.0, 1.0, 1.0, 0.5, 2.0)) for _ in range(num_parts))
    if kind in ("plain",):
        charges = tuple(_draw_charge(random, colours[0]) for _ in range(random.choice((1, 1, 2, 3))))
    else:
        charges = tuple(_draw_charge(random, colours[0]) for _ in range(random.choice((0, 0, 1, 1, 2))))
    return Design(kind, colours, weights, charges)


def vary_design(random: Random, design: Design) -> Design:
    """Draw a look-alike with other charges or another ground colour, as similar as the flags of Chad and Romania."""
    varied = design
    while varied == design:
        if random.random() < 0.5:
            charges = tuple(_draw_charge(random, design.colours[0]) for _ in range(random.choice((0, 1, 1, 2))))
            varied = replace(design, charges=charges)
        else:
            ground = random.choice([index for index in range(len(PALETTE)) if index not in design.colours[:2]])
            varied = replace(design, colours=(ground, *design.colours[1:]))
    return varied


@dataclass(frozen=True)
class DrawnFlag:
    """A flag given by its design, which any artist can draw."""

    design: Design

    def picture(self, random: Random) -> Image.Image:
        """Render the flag by another random artist."""
        return render(self.design, draw_artist(random))

    def draw_lookalike(self, random: Random) -> "DrawnFlag":
        return DrawnFlag(vary_design(random, self.design))


def _draw_stripe_colours(random: Random, pool: list[int], num_parts: int) -> tuple[int, ...]:
    colours: list[int] = []
    for _ in range(num_parts):
        colours.append(random.choice([colour for colour in pool if not colours or colour != colours[-1]]))
    return tuple(colours)


def _draw_charge(random: Random, ground: int) -> Charge:
    kind = random.choices(
        ("star", "disc", "crescent", "triangle", "emblem", "diamond", "stars", "ring", "sun"),
        weights=(5, 3, 3, 2, 6, 1, 4, 1, 2),
    )[0]
    colour = random.choice([index for index in range(len(PALETTE)) if index != ground])
    x, y = random.choice(((0.5, 0.5), (0.5, 0.5), (0.25, 0.25), (0.3, 0.5), (0.17, 0.5), (0.7, 0.5), (0.75, 0.7)))
    size = random.choice((0.2, 0.3, 0.4, 0.5, 0.6))
    parts: tuple[Charge, ...] = ()
    if kind == "emblem":
        parts = tuple(
            Charge(
                random.choice(("disc", "star", "diamond", "triangle", "bar")),
                random.randrange(len(PALETTE)),
                random.uniform(-0.4, 0.4),
                random.uniform(-0.4, 0.4),
                random.uniform(0.25, 0.8),
            )
            for _ in range(random.randint(3, 7))
        )
    return Charge(kind, colour, x, y, size, random.choice((5, 5, 5, 6, 7, 8, 12)), parts)


def draw_artist(random: Random) -> Artist:
    """Draw an artist: palette shifts of up to 32 levels per channel, proportions and style."""
    spread = random.choice((8, 20, 32))
    shift = tuple(tuple(random.randint(-spread, spread) for _ in range(3)) for _ in PALETTE)
    return Artist(
        aspect=random.choice((4 / 3, 3 / 2, 1.38, 1.25, 1.6)),
        shift=shift,  # pyright: ignore[reportArgumentType]  # three channels by construction
        corner=random.choice((0.0, 0.0, 0.06, 0.12)),
        margin=random.choice((0.0, 0.0, 0.02)),
        charge_scale=random.uniform(0.8, 1.25),
        charge_turn=random.uniform(-0.25, 0.25),
        simplified=random.random() < 0.4,
        shade=random.choice((0.0, 0.0, 0.12, 0.2)),
        border=random.random() < 0.25,
        blur=random.choice((0.0, 0.0, 0.5, 0.9)),
    )


def render(design: Design, artist: Artist, height: int = 48) -> Image.Image:
    """Render the design in the artist's style: an RGB picture of `height` pixels with the artist's aspect ratio."""
    tall = height * SUPERSAMPLING
    wide = round(tall * artist.aspect)
    picture = Image.new("RGB", (wide, tall), _shift_colour(design.colours[0], artist))
    pen = ImageDraw.Draw(picture)
    _draw_field(pen, design, artist, wide, tall)
    for charge in design.charges:
        _draw_shape(pen, charge, artist, charge.x * wide, charge.y * tall, charge.size * tall * artist.charge_scale / 2)
    return finish(picture, artist, height)


def encode_png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def _shift_colour(index: int, artist: Artist) -> tuple[int, int, int]:
    red, green, blue = (
        max(0, min(255, level + change)) for level, change in zip(PALETTE[index], artist.shift[index], strict=True)
    )
    return red, green, blue


def _compute_edges(weights: tuple[float, ...], length: int) -> list[float]:
    total, edges = sum(weights), [0.0]
    for weight in weights:
        edges.append(edges[-1] + weight / total * length)
    return edges


def _draw_field(pen: ImageDraw.ImageDraw, design: Design, artist: Artist, wide: int, tall: int) -> None:
    colours = [_shift_colour(index, artist) for index in design.colours]
    second = colours[1 % len(colours)]
    third = colours[2 % len(colours)]
    match design.field_kind:
        case "horizontal" | "hoist" | "canton":
            edges = _compute_edges(design.weights, tall)
            for colour, top, bottom in zip(colours, edges, edges[1:], strict=False):
                pen.rectangle((0, top, wide, bottom), fill=colour)
            if design.field_kind == "hoist":
                pen.polygon([(0, 0), (wide * 0.42, tall / 2), (0, tall)], fill=third)
            if design.field_kind == "canton":
                pen.rectangle((0, 0, wide * 0.45, tall * 0.5), fill=third)
        case "vertical":
            edges = _compute_edges(design.weights, wide)
            for colour, left, right in zip(colours, edges, edges[1:], strict=False):
                pen.rectangle((left, 0, right, tall), fill=colour)
        case "nordic" | "cross":
            middle = wide * (0.37 if design.field_kind == "nordic" else 0.5)
            for colour, half in ((second, 0.14 * tall), (third, 0.07 * tall)):
                pen.rectangle((middle - half, 0, middle + half, tall), fill=colour)
                pen.rectangle((0, tall / 2 - half, wide, tall / 2 + half), fill=colour)
        case "saltire":
            pen.line((0, 0, wide, tall), fill=second, width=int(tall * 0.2))
            pen.line((0, tall, wide, 0), fill=second, width=int(tall * 0.2))
        case "diagonal":
            pen.polygon([(0, 0), (wide, 0), (0, tall)], fill=second)
            pen.line((0, tall, wide, 0), fill=third, width=int(tall * 0.16))
        case "jack":
            corner = (wide * 0.5, tall * 0.5)
            pen.rectangle((0, 0, *corner), fill=second)
            for colour, width in ((third, 0.14), (colours[-1], 0.06)):
                pen.line((0, 0, *corner), fill=colour, width=int(tall * width * 0.7))
                pen.line((0, corner[1], corner[0], 0), fill=colour, width=int(tall * width * 0.7))
                pen.line((0, corner[1] / 2, corner[0], corner[1] / 2), fill=colour, width=int(tall * width))
                pen.line((corner[0] / 2, 0, corner[0] / 2, corner[1]), fill=colour, width=int(tall * width))
        case "quartered":
            pen.rectangle((wide / 2, 0, wide, tall / 2), fill=second)
            pen.rectangle((0, tall / 2, wide / 2, tall), fill=third)


def _compute_star(
    x: float, y: float, radius: float, points: int, inner: float, turn: float
) -> list[tuple[float, float]]:
    corners = []
    for step in range(2 * points):
        reach = radius if step % 2 == 0 else radius * inner
        angle = turn - math.pi / 2 + step * math.pi / points
        corners.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return corners


def _draw_shape(pen: ImageDraw.ImageDraw, shape: Charge, artist: Artist, x: float, y: float, radius: float) -> None:
    colour = _shift_colour(shape.colour, artist)
    box = (x - radius, y - radius, x + radius, y + radius)
    match shape.kind:
        case "star" | "sun":
            inner = 0.4 if shape.kind == "star" else 0.7
            points = shape.points if shape.kind == "star" else 12
            pen.polygon(_compute_star(x, y, radius, points, inner, artist.charge_turn), fill=colour)
        case "disc":
            pen.ellipse(box, fill=colour)
        case "ring":
            pen.ellipse(box, outline=colour, width=max(2, int(radius * 0.35)))
        case "crescent":
            pen.ellipse(box, fill=colour)
            ground = _shift_colour((shape.colour + 3) % len(PALETTE), artist)
            pen.ellipse((x - radius * 0.45, y - radius * 0.8, x + radius * 1.15, y + radius * 0.8), fill=ground)
        case "triangle":
            pen.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=colour)
        case "diamond":
            pen.polygon([(x, y - radius), (x + radius * 1.4, y), (x, y + radius), (x - radius * 1.4, y)], fill=colour)
        case "bar":
            pen.rectangle((x - radius, y - radius * 0.3, x + radius, y + radius * 0.3), fill=colour)
        case "stars":
            for step in range(shape.points):
                angle = step * 2 * math.pi / shape.points
                at = (x + radius * math.cos(angle), y + radius * math.sin(angle))
                pen.polygon(_compute_star(*at, radius * 0.3, 5, 0.4, 0.0), fill=colour)
        case "emblem":
            parts = shape.parts[: 3 if artist.simplified else None]
            for part in parts:
                _draw_shape(pen, part, artist, x + part.x * radius, y + part.y * radius, part.size * radius)


def finish(picture: Image.Image, artist: Artist, height: int) -> Image.Image:
    """Shade, frame and blur a picture in the artist's style, and resize it to `height` pixels."""
    wide, tall = picture.size
    if artist.shade:
        band = Image.new("L", (wide, 1))
        band.putdata([int(255 * artist.shade * (0.5 + 0.5 * math.sin(8 * at / wide))) for at in range(wide)])
        picture = Image.composite(Image.new("RGB", picture.size, (0, 0, 0)), picture, band.resize(picture.size))
    if artist.border:
        ImageDraw.Draw(picture).rectangle((0, 0, wide - 1, tall - 1), outline=(120, 120, 120), width=SUPERSAMPLING)
    if artist.corner or artist.margin:
        gap = int(artist.margin * tall)
        mask = Image.new("L", picture.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle(
            (gap, gap, wide - gap - 1, tall - gap - 1), radius=artist.corner * tall, fill=255
        )
        picture = Image.composite(picture, Image.new("RGB", picture.size, (255, 255, 255)), mask)
    if artist.blur:
        picture = picture.filter(ImageFilter.GaussianBlur(artist.blur * SUPERSAMPLING))
    return picture.resize((round(height * artist.aspect), height), Image.Resampling.BOX)
