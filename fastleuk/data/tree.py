"""List a folder tree: its images and tables by name, and what was ignored and why."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from fastleuk.csv_files import is_table_name
from fastleuk.data.left_out import MISNAMED, NOT_AN_IMAGE, UNREAD, Ignored
from fastleuk.data.litter import litter_reason
from fastleuk.data.manifest import MARKER
from fastleuk.errors import DataError, listed

_JPEG = (".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".jfi", ".pjpeg", ".pjp")
IMAGE_SUFFIXES = frozenset({".bmp", ".png", *_JPEG, ".tif", ".tiff", ".webp"})

_OTHERS = """
    .gif .heic .heif .avif .jp2 .j2k .jpf .jpx .jxl .jxr .hdp .wdp .dib .ppm .pgm .pnm .pbm .tga
    .ico .psd .svg .exr .hdr .apng .dcm .dicom .nii .nrrd .mha .mhd .npy .npz .fits .raw .dng .cr2
    .cr3 .nef .arw .orf .rw2 .czi .lif .lsm .nd2 .oib .oif .vsi .zvi .svs .ndpi .mrxs .scn .bif
    .ims .stk .img .eps
"""
_NO_IMAGES = """
    .txt .md .rst .json .jsonl .xml .yaml .yml .toml .ini .cfg .html .htm .pdf .doc .docx .xls
    .xlsx .ods .tsv .log .py .ipynb .m .r .sh .mat .pkl .zip .tar .gz .7z .rar .idx .sha256 .md5
    .torrent .lock .lnk
"""
_OTHER_IMAGES = frozenset(_OTHERS.split())
_TEXTS = frozenset(_NO_IMAGES.split())
_MAGIC = (b"BM", b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Tree:
    """What a walk found. All paths are POSIX, relative to ``root``."""

    root: Path
    images: tuple[str, ...]
    tables: tuple[str, ...]
    """The ``.csv`` and ``.tsv`` files, also with ``.gz``."""
    folders: tuple[str, ...]
    ignored: tuple[Ignored, ...]
    synthetic: bool
    """A marker file of the demo set was met on the way."""
    bad: tuple[tuple[str, str], ...] = ()
    """(path, reason) of images that are links to nothing."""
    outside: int = 0
    """Number of images that links lead to outside ``root``."""

    def remarks(self) -> tuple[str, ...]:
        """Say what a user should know of the links."""
        if not self.outside:
            return ()
        return (f"{self.outside} images are links that lead outside {self.root}",)


def is_image_name(name: str) -> bool:
    """Say whether ``name`` ends like an image that fastleuk reads."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def read_tree(root: Path) -> Tree:
    """Walk ``root``, an absolute folder with links resolved; links are followed, loops are cut.

    Within each folder of ``root``, a folder that several links lead to is read once.

    Raises:
        DataError: folders that can't be listed, all named.
    """
    found = _Walk(root)
    found.run()
    if found.closed:
        raise DataError(f"{root}: folders that can't be read:\n{listed(found.closed)}")
    return Tree(
        root,
        tuple(found.images),
        tuple(found.tables),
        tuple(found.folders),
        tuple(found.ignored),
        found.synthetic,
        tuple(found.bad),
        found.outside,
    )


@dataclass(frozen=True)
class _Folder:
    prefix: str
    """Path relative to the root, with a slash behind it; ``""`` for the root."""
    outside: bool = False


@dataclass
class _Walk:
    """A walk under way."""

    root: Path
    images: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    outside: int = 0
    synthetic: bool = False
    _seen: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def run(self) -> None:
        """Read real folders first, so that a link to one of them is what is left out."""
        real = [_Folder("")]
        linked: list[_Folder] = []
        while real or linked:
            folder = real.pop() if real else linked.pop(0)
            try:
                if folder.prefix and not self._enters(folder.prefix[:-1]):
                    continue
                with os.scandir(self.root / folder.prefix) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.closed.append(str(error))
                continue
            inner: list[_Folder] = []
            for entry in entries:
                path = folder.prefix + entry.name
                if not _is_folder(entry):
                    self._file(entry, path, folder.outside)
                elif entry.is_symlink():
                    away = folder.outside or self._leaves(entry.path)
                    linked.append(_Folder(path + "/", away))
                else:
                    inner.append(_Folder(path + "/", folder.outside))
            real.extend(reversed(inner))

    def _enters(self, path: str) -> bool:
        """Say whether a folder is read; note it as found or as ignored."""
        name, full = path.rsplit("/", 1)[-1], self.root / path
        reason, detail = litter_reason(name, folder=True), ""
        if not reason:
            status = os.stat(full)
            key = (path.split("/", 1)[0], status.st_dev, status.st_ino)
            if full.is_symlink() and self.root.is_relative_to(os.path.realpath(full)):
                reason = "a link that leads back to a folder it lies in"
            elif key in self._seen:
                reason, detail = "a link to a folder that is read already", self._seen[key]
            else:
                self._seen[key] = path
        if reason:
            self.ignored.append(Ignored(path + "/", reason, detail))
        else:
            self.folders.append(path)
        return not reason

    def _leaves(self, path: str) -> bool:
        return not Path(os.path.realpath(path)).is_relative_to(self.root)

    def _file(self, entry: os.DirEntry[str], path: str, outside: bool) -> None:
        if entry.name == MARKER:
            self.synthetic = True
            return
        table = is_table_name(entry.name)
        reason = _reason(entry, table)
        if reason:
            self.ignored.append(Ignored(path, reason))
        elif table:
            self.tables.append(path)
        elif entry.is_symlink() and not os.path.exists(entry.path):
            self.bad.append((path, f"a link to {os.readlink(entry.path)}, which isn't there"))
        else:
            self.images.append(path)
            self.outside += outside or (entry.is_symlink() and self._leaves(entry.path))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _reason(entry: os.DirEntry[str], table: bool) -> str:
    name = entry.name
    litter = litter_reason(name, folder=False)
    if litter:
        return litter
    there = not entry.is_symlink() or os.path.exists(entry.path)
    if there and not entry.is_file():
        return "neither a file nor a folder"
    if is_image_name(name):
        return ""
    if not there:
        return "a link to nothing"
    if table:
        return ""
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _OTHER_IMAGES:
        return UNREAD
    if suffix in _TEXTS:
        return NOT_AN_IMAGE
    return MISNAMED if _begins_like_an_image(entry.path) else NOT_AN_IMAGE


def _begins_like_an_image(path: str) -> bool:
    try:
        with open(path, "rb") as stream:
            head = stream.read(12)
    except OSError:
        return False
    return head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")
