"""Pictures by id: files of a folder, at any depth, or members of a tar or zip archive; any ending will do.

Accents in names count as the same, composed or not, as systems that unpack archives write either.
"""

import tarfile
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
Stamp = tuple[int, int]  # of a file: its bytes, and when it was last written (ns since 1970)
ARCHIVES = {".zip", ".tar"}
COMPRESSED_WHOLE = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class PictureFiles:
    """Names of pictures, with their sizes, by their id, which is the file's name without its ending; how one is read,
    and the stamp of the file that it lies in."""

    def __init__(self, sizes: Mapping[str, int], read: Callable[[str], bytes], stamp: Callable[[str], Stamp]):
        self.read, self.stamp = read, stamp
        self.sizes: dict[str, int] = {}
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_id: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(sizes):
            path = PurePosixPath(name)
            if is_picture(path):
                self.sizes[name] = sizes[name]
                self._by_name[_composed(path.name)].append(name)
                self._by_id[_composed(path.stem)].append(name)

    def find(self, image_id: str, *, folder: str | None = None) -> str | None:
        """Return the name of a picture, or None. An id may come with an ending, which another may stand for.

        Of several pictures of one name, it is the only one below `folder`; where none or many are, there is none.
        """
        image_id = _composed(image_id)
        without_ending = PurePosixPath(image_id).stem
        named = (
            self._by_name.get(PurePosixPath(image_id).name)
            or self._by_id.get(image_id)
            or self._by_id.get(without_ending, [])
        )
        if len(named) > 1:
            named = [name for name in named if folder in PurePosixPath(name).parts[:-1]]
        return named[0] if len(named) == 1 else None


def is_picture(path: PurePosixPath) -> bool:
    """Tell a picture by its name."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def open_pictures(path: Path) -> PictureFiles:
    """Look at a folder or an archive. Raises ValueError for a file that is neither, or a tar compressed as a whole."""
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file.stat().st_size for file in path.rglob("*") if file.is_file()}
        return PictureFiles(files, lambda name: (path / name).read_bytes(), lambda name: _stamp(path / name))
    return _archive(path, _stamp(path))


def _stamp(path: Path) -> Stamp:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=32)
def _archive(path: Path, stamp: Stamp) -> PictureFiles:
    """Look at an archive once, as long as its stamp stays: to list a large tar takes a while."""
    if zipfile.is_zipfile(path):
        zipped = zipfile.ZipFile(path)
        sizes = {each.filename: each.file_size for each in zipped.infolist() if not each.is_dir()}
        return PictureFiles(sizes, zipped.read, lambda name: stamp)
    try:
        return _tar(tarfile.open(path, mode="r:"), stamp)
    except tarfile.ReadError as error:
        raise ValueError(
            f"{path.name} is not a folder, zip or plain tar. A tar that is compressed whole cannot be read picture by "
            "picture: uncompress it, or unpack it into a folder"
        ) from error


def _tar(archive: tarfile.TarFile, stamp: Stamp) -> PictureFiles:
    members = {member.name: member for member in archive if member.isfile()}

    def read(name: str) -> bytes:
        stream = archive.extractfile(members[name])
        assert stream is not None  # only files are kept
        return stream.read()

    return PictureFiles({name: member.size for name, member in members.items()}, read, lambda name: stamp)


@dataclass(frozen=True)
class PictureSources:
    """Several sources of pictures, the first that has one gives it; and the names of archives that cannot be read."""

    sources: Sequence[PictureFiles]
    unread: Sequence[str] = ()

    def find(self, image_ids: Sequence[str]) -> Callable[[], bytes] | None:
        """Return what reads the picture of the first id that is there, or None."""
        for image_id in image_ids:
            for source in self.sources:
                if (name := source.find(image_id)) is not None:
                    return lambda source=source, name=name: source.read(name)
        return None


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)
