"""Pictures by id: files of a folder, at any depth, or members of a tar or zip archive, with any picture ending.

Names with composed and with decomposed accents count as the same, because systems that unpack archives write either.
"""

import tarfile
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from comem_core.data_roots import DataRoots, read_data_roots

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
Stamp = tuple[int, int]  # of a file: its size in bytes, and when it was last written (ns since 1970)
ARCHIVES = {".zip", ".tar"}
COMPRESSED_WHOLE = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


class PictureFiles:
    """Pictures of one source: their names by id (the file's name without its ending), and their sizes by name.

    `read` reads a picture by name; `stamp` returns the stamp of the file that contains it.
    """

    def __init__(self, sizes: Mapping[str, int], read: Callable[[str], bytes], stamp: Callable[[str], Stamp]):
        self.read, self.stamp = read, stamp
        self.sizes: dict[str, int] = {}
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        self._by_id: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(sizes):
            path = PurePosixPath(name)
            if is_picture(path):
                self.sizes[name] = sizes[name]
                self._by_name[_compose_accents(path.name)].append(name)
                self._by_id[_compose_accents(path.stem)].append(name)

    def find(self, image_id: str, *, folder: str | None = None) -> str | None:
        """Return the name of a picture, or None. An id may have an ending; a picture with another ending matches too.

        Of several pictures with this id, the one below `folder` is returned; None if there is not exactly one.
        """
        image_id = _compose_accents(image_id)
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
    """Say whether a name is that of a picture, by its ending; hidden files are not pictures."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def open_pictures(path: Path) -> PictureFiles:
    """List the pictures of a folder or an archive. Raises ValueError for other files, among them a compressed tar, and
    OutsideRoots for a link that leads out of the folder."""
    if path.is_dir():
        found, roots = [file for file in path.rglob("*") if file.is_file()], DataRoots.of(path, read_data_roots())
        for link in filter(Path.is_symlink, found):
            roots.check(link)
        files = {file.relative_to(path).as_posix(): file.stat().st_size for file in found}
        return PictureFiles(files, lambda name: (path / name).read_bytes(), lambda name: _read_stamp(path / name))
    return _open_archive(path, _read_stamp(path))


def _read_stamp(path: Path) -> Stamp:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


@lru_cache(maxsize=32)
def _open_archive(path: Path, stamp: Stamp) -> PictureFiles:
    """List an archive once, as long as its stamp stays the same: listing a large tar takes a while."""
    if zipfile.is_zipfile(path):
        zipped = zipfile.ZipFile(path)
        sizes = {each.filename: each.file_size for each in zipped.infolist() if not each.is_dir()}
        return PictureFiles(sizes, zipped.read, lambda name: stamp)
    try:
        return _open_tar(tarfile.open(path, mode="r:"), stamp)
    except tarfile.ReadError as error:
        raise ValueError(
            f"{path.name} is not a folder, zip or plain tar. Pictures cannot be read one by one from a compressed tar: "
            "decompress it, or unpack it into a folder"
        ) from error


def _open_tar(archive: tarfile.TarFile, stamp: Stamp) -> PictureFiles:
    members = {member.name: member for member in archive if member.isfile()}

    def read(name: str) -> bytes:
        stream = archive.extractfile(members[name])
        assert stream is not None  # only files are kept
        return stream.read()

    return PictureFiles({name: member.size for name, member in members.items()}, read, lambda name: stamp)


@dataclass(frozen=True)
class PictureSources:
    """Several sources of pictures, searched in order; `unread` names the archives that cannot be read."""

    sources: Sequence[PictureFiles]
    unread: Sequence[str] = ()

    def find(self, image_ids: Sequence[str]) -> Callable[[], bytes] | None:
        """Return a function that reads the picture of the first id that is found, or None."""
        for image_id in image_ids:
            for source in self.sources:
                if (name := source.find(image_id)) is not None:
                    return lambda source=source, name=name: source.read(name)
        return None


def _compose_accents(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)
