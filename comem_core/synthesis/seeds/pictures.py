"""Pictures by id: files of a folder, at any depth, or members of a tar or zip archive; any ending will do."""

import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}


Stamp = tuple[int, int]  # of a file: its bytes, and when it was last written (ns since 1970)


class Pictures:
    """Names of pictures by their id, which is the file's name without its ending; how one is read, and the stamp of the
    file that it lies in."""

    def __init__(self, names: Iterable[str], read: Callable[[str], bytes], stamp: Callable[[str], Stamp]):
        self.read, self.stamp = read, stamp
        self._by_id: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            path = PurePosixPath(name)
            if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
                self._by_id[path.stem].append(name)

    def find(self, image_id: str, *, folder: str | None = None) -> str | None:
        """Return the name of a picture, or None. An id may come with an ending, which is not looked at.

        Of several pictures of one name, it is the only one below `folder`; where none or many are, there is none.
        """
        named = self._by_id.get(image_id) or self._by_id.get(PurePosixPath(image_id).stem, [])
        if len(named) > 1:
            named = [name for name in named if folder in PurePosixPath(name).parts[:-1]]
        return named[0] if len(named) == 1 else None


def open_pictures(path: Path) -> Pictures:
    """Look at a folder or an archive. Raises ValueError for a file that is neither, or a tar compressed as a whole."""
    if path.is_dir():
        names = (file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        return Pictures(names, lambda name: (path / name).read_bytes(), lambda name: _stamp(path / name))
    of_archive = _stamp(path)
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        members = (each.filename for each in archive.infolist() if not each.is_dir())
        return Pictures(members, archive.read, lambda name: of_archive)
    try:
        return _tar(tarfile.open(path, mode="r:"), of_archive)
    except tarfile.ReadError as error:
        raise ValueError(
            f"{path.name} is no folder, zip or plain tar. A tar that is compressed whole cannot be read picture by "
            "picture: uncompress it, or unpack it into a folder"
        ) from error


def _stamp(path: Path) -> Stamp:
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _tar(archive: tarfile.TarFile, stamp: Stamp) -> Pictures:
    members = {member.name: member for member in archive if member.isfile()}

    def read(name: str) -> bytes:
        stream = archive.extractfile(members[name])
        assert stream is not None  # only files are kept
        return stream.read()

    return Pictures(members, read, lambda name: stamp)
