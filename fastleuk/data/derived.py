"""Recognize files made of another image by their names: masks, previews, augmented copies.

A name alone proves nothing: ``x_mask.png`` is a mask where ``x`` is there, too. Masks and previews
are left out; augmented copies stay, but in the part of a split that holds their original.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Resampling

from fastleuk.data.folders.parts import part_of
from fastleuk.data.images.decode import decode_rgb
from fastleuk.data.left_out import Ignored

MASK = "a mask or annotation of another image"
PREVIEW = "a preview of another image"


def _words(text: str) -> str:
    """Join alternatives of a regular expression; ``-`` in them is any separator or none."""
    return "|".join(text.split()).replace("-", "[ _-]?")


_MASKED = _words(
    "(?:binary-|instance-|cell-|nuclei-|nucleus-|cp-)?masks? seg segm (?:simple-)?segmentations? "
    "gt ground-truth grth labels?(?:-viz|-ids?)? annot anno annotations? annotated outlines? "
    "contours? overlay"
)
_SMALL = _words(r"thumbs? thumbnail preview tn \d{2,4}x\d{2,4}")
_FILES = tuple(
    (reason, re.compile(pattern, re.IGNORECASE))
    for reason, pattern in (
        (MASK, rf"(?P<base>.+?)[ _.\-]+(?:{_MASKED})(?:[ _.\-]*\(?\d{{1,3}}\)?)?"),
        (MASK, r"(?P<base>.+?)(?:masks?|segmentation)(?:[ _.\-]*\(?\d{1,3}\)?)?"),
        (MASK, rf"(?:{_MASKED})[ _.\-]+(?P<base>.+)"),
        (PREVIEW, rf"(?P<base>.+?)[ _.\-]+(?:{_SMALL})"),
        (PREVIEW, rf"(?:{_SMALL})[ _.\-]+(?P<base>.+)"),
    )
)

_MASK_WORDS = _words(
    "masks? mask-images? grth gts? ground-truths? annots? annotations? labels?(?:-viz)? "
    "segmentations? segmentation(?:class|object)(?:png|raw|visualization)? outlines? contours? "
    "overlays?"
)
_MASK_FOLDER = re.compile(
    rf"(?:.*[ _.\-])?(?:{_MASK_WORDS})|.*(?:masks|groundtruth)", re.IGNORECASE
)
_PREVIEW_FOLDER = re.compile(r"_?(?:thumbs?|thumbnails?|previews?)", re.IGNORECASE)
_IMAGE_WORDS = "images? imgs? jpegimages pictures? pics photos? originals? orig raw inputs? rgb"
_IMAGE_FOLDER = re.compile(f"{_words(_IMAGE_WORDS)}|tiles|crops", re.IGNORECASE)

_SAMPLES = 5
"""Images of a doubtful folder that are decoded to see whether they are masks."""

_PREVIEW_LEVELS = 3.0
"""Mean difference in levels, of 8x8 pixels, up to which a preview shows its original: that of
drawn cells is at most 0.6 for their previews, and 8.4 in the median for two different ones."""

_COLORS, _SHARE = 3, 0.97
"""A mask has so many colors in that share of its pixels."""

_AUG = "aug(?:m|ment|mented|mentation)?"
_CHANGED = _words(
    f"{_AUG} [hv]?-flip(?:ped)? flip-(?:h|v|hv|lr|ud|[01]|horizontal(?:ly)?|vertical(?:ly)?) "
    "(?:horizontal|vertical)-flip (?:[hv]-)?mirror(?:ed)? rot rotated? rotation transposed? "
    "blur(?:red)? gauss(?:ian)?(?:-blur|-noise)? noise noisy bright(?:er|ness)? darker contrast "
    "zoom(?:ed)? shear(?:ed)? (?:colou?r-)?jitter elastic warp(?:ed)? sharpen(?:ed)? "
    "equali[sz]ed? clahe gamma salt-(?:and-)?pepper"
)
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_COPIES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Roboflow: cell_jpg.rf.0123….jpg; packed into shards the dots are underscores.
        r"(?P<base>.+?)(?:[_.](?:jpe?g|png|bmp|tiff?|webp))?(?:\.rf\.\w{6,}|_rf_[0-9a-f]{16,})",
        # Augmentor: class_original_cell.png_0123….png
        rf".*?original_(?P<base>.+?)[_.]\w{{3,4}}_{_UUID}",
        rf"(?P<base>.+?)[ _.\-]+{_AUG}(?:[ _.\-]*\d+)?(?:[ _.\-].*)?",
        rf"{_AUG}(?:[ _.\-]*\d+)?[ _.\-]+(?P<base>.+)",
        rf"(?P<base>.+?)[ _.\-]+(?:{_CHANGED})(?:[ _.\-]*[+-]?\d+)?",
        rf"(?:{_CHANGED})(?:[ _.\-]*\d+)?[ _.\-]+(?P<base>.+)",
    )
)
_ROBOFLOW = re.compile(r"\.rf\.\w{6,}|_rf_[0-9a-f]{16,}", re.IGNORECASE)
_PROCESSED_WORDS = _words(
    "original orig raw segmented cropped masked normali[sz]ed enhanced resized (?:pre)?processed"
)
_PROCESSED = re.compile(rf"(?P<base>.+?)[ _.\-]+(?:{_PROCESSED_WORDS})", re.IGNORECASE)
"""Versions of one image: unlike augmented copies, a set may consist of one such version only."""

_COPY_WORDS = """
    .rf. _rf_ aug orig raw flip mirror rot transpose blur gauss nois bright darker contrast zoom
    shear jitter elastic warp sharp equali clahe gamma salt segmented cropped masked normali
    enhanced resized processed gray grey 0x 5x mag
"""
_MASK_WORDS_SHORT = """
    mask seg gt grth truth label anno outline contour overlay thumb preview tn 0x 1x 2x 3x 4x 5x 6x
    7x 8x 9x
"""
_COPY_HINTS, _MASK_HINTS = tuple(_COPY_WORDS.split()), tuple(_MASK_WORDS_SHORT.split())
"""A name without any of them matches none of the expressions above: they save time."""

_COPY_FOLDER = re.compile(rf"{_AUG}s?(?:[ _-]?\d+)?|{_AUG}[ _-].*|.*[ _-]{_AUG}", re.IGNORECASE)
_VERSION_FOLDER = re.compile(
    rf"originals?|{_PROCESSED_WORDS}|gr[ae]y(?:scale)?|"
    r"(?:mag(?:nification)?[ _-]?)?\d{1,4}[ _-]?x",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Derived:
    """Images to leave out.

    Attributes:
        reasons: By path: :data:`MASK` or :data:`PREVIEW`, and the original or ``""``.
        folders: Folders that hold nothing else.
    """

    reasons: dict[str, tuple[str, str]]
    folders: tuple[str, ...] = ()

    def ignored(self, prefix: str = "") -> list[Ignored]:
        """List what is left out, each with its original."""
        return [
            Ignored(prefix + path, reason, f"({prefix}{original})" if original else "")
            for path, (reason, original) in self.reasons.items()
        ]


def find_derived(paths: Iterable[str], read: Callable[[str], bytes | memoryview]) -> Derived:
    """Find masks and previews beside their images, or in folders beside those of the images.

    Args:
        paths: POSIX paths of images, relative to one folder.
        read: Reads an image, for folders whose names alone prove nothing: classes can be called
            ``mask`` and ``no_mask``.
    """
    by_folder: dict[str, dict[str, str]] = defaultdict(dict)
    for path in paths:
        folder, name = _split(path)
        by_folder[folder][path] = _stem(name)
    reasons: dict[str, tuple[str, str]] = {}
    for stems in by_folder.values():
        originals = {stem.casefold(): path for path, stem in stems.items()}
        for path, stem in stems.items():
            for reason, base in _bases(stem):
                if base.casefold() in originals:
                    reasons[path] = (reason, originals[base.casefold()])
                    break
    folders = []
    for place, reason in _derived_folders(by_folder):
        inside = {
            path: stem
            for folder, stems in by_folder.items()
            if folder == place or folder.startswith(f"{place}/")
            for path, stem in stems.items()
        }
        if _is_derived_folder(place, inside, by_folder, reason, read):
            folders.append(place)
            reasons.update({path: (reason, reasons.get(path, ("", ""))[1]) for path in inside})
    return Derived(reasons, tuple(folders))


def is_derived_folder_name(name: str) -> bool:
    """Check whether a folder's name suggests that it holds masks or previews."""
    return bool(_MASK_FOLDER.fullmatch(name) or _PREVIEW_FOLDER.fullmatch(name))


def _bases(stem: str) -> Iterator[tuple[str, str]]:
    if not _hints(stem, _MASK_HINTS):
        return
    for reason, pattern in _FILES:
        match = pattern.fullmatch(stem)
        if match:
            yield reason, match["base"]


def _derived_folders(folders: Iterable[str]) -> list[tuple[str, str]]:
    """List the outermost folders whose names suggest masks or previews, with the reason."""
    found: dict[str, str] = {}
    for folder in folders:
        names = folder.split("/") if folder else []
        for depth, name in enumerate(names, start=1):
            mask = _MASK_FOLDER.fullmatch(name)
            if mask or _PREVIEW_FOLDER.fullmatch(name):
                found["/".join(names[:depth])] = MASK if mask else PREVIEW
                break
    return sorted(found.items())


def _is_derived_folder(
    place: str,
    inside: dict[str, str],
    by_folder: dict[str, dict[str, str]],
    reason: str,
    read: Callable[[str], bytes | memoryview],
) -> bool:
    """Compare the names in a folder with those beside it; decode some where that is not enough."""
    above, _ = _split(place)
    prefix = f"{above}/" if above else ""
    near: set[str] = set()
    beside: dict[str, str] = {}
    pairs: list[tuple[str, str]] = []
    for folder, stems in by_folder.items():
        if (above and folder != above and not folder.startswith(prefix)) or folder.startswith(
            f"{place}/"
        ):
            continue
        names = folder.removeprefix(above).strip("/").split("/") if folder != above else []
        if names and is_derived_folder_name(names[0]):
            continue
        for path, stem in stems.items():
            near.add("/".join([*names, stem]).casefold())
            if names:
                beside.setdefault("/".join([*names[1:], stem]).casefold(), path)
                if _IMAGE_FOLDER.fullmatch(names[0]):
                    near.add("/".join([*names[1:], stem]).casefold())
    matched = 0
    for path, stem in inside.items():
        folder = _split(path)[0].removeprefix(place).strip("/")
        bases = [stem, *(base for _, base in _bases(stem))]
        keys = {"/".join(filter(None, [folder, base])).casefold() for base in bases}
        matched += bool(keys & near)
        pairs += [(path, beside[key]) for key in keys & beside.keys()][:1]
    if 2 * matched >= len(inside):
        return True
    if reason == PREVIEW:
        few = pairs[:: max(1, len(pairs) // _SAMPLES)][:_SAMPLES]
        return 2 * len(pairs) >= len(inside) and all(_look_alike(read, *pair) for pair in few)
    chosen = sorted(inside)[:: max(1, len(inside) // _SAMPLES)][:_SAMPLES]
    return all(_is_mask(read, path) for path in chosen)


def _is_mask(read: Callable[[str], bytes | memoryview], path: str) -> bool:
    """Check whether hardly any pixel differs from the few most frequent colors."""
    try:
        pixels = np.asarray(decode_rgb(read(path)))
    except Exception:  # PIL's, of many kinds; verification names the file
        return False
    levels = (pixels >> 5).astype(np.int64) @ (64, 8, 1)
    counts = np.sort(np.bincount(levels.ravel()))[::-1]
    return bool(counts[:_COLORS].sum() >= _SHARE * levels.size)


def _look_alike(read: Callable[[str], bytes | memoryview], path: str, other: str) -> bool:
    """Check whether two images of any size agree after both are reduced to 8x8 pixels."""
    try:
        one, two = (
            np.asarray(decode_rgb(read(name)).resize((8, 8), Resampling.BOX), np.int16)
            for name in (path, other)
        )
    except Exception:  # PIL's, of many kinds; verification names the file
        return False
    return bool(np.abs(one - two).mean() < _PREVIEW_LEVELS)


def find_versions(paths: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Find images that are copies of one another by their names, such as ``x`` and ``x_aug1``.

    Copies whose original is in the same folder belong to that; others, and all of Roboflow's, also
    belong to what has their name in the folders of other parts (train, test).

    Args:
        paths: POSIX paths relative to one folder; a tar shard in them doesn't count.

    Returns:
        Indices of each set of two or more, of which one at least bears a copy's name.
    """
    if not _hints("\n".join(paths), _COPY_HINTS):
        return ()
    places: dict[str, tuple[str, bool, bool]] = {}
    sets: dict[tuple[str, str], list[int]] = defaultdict(list)
    changed: set[tuple[str, str]] = set()
    with_original: set[tuple[str, str]] = set()
    roboflow: set[tuple[str, str]] = set()
    for i, path in enumerate(paths):
        folder, name = _split(path.rpartition(".tar/")[2])
        stem = _stem(name)
        base, augmented = _original(stem)
        if folder not in places:
            places[folder] = _place(folder)
        place, of_copies, stripped = places[folder]
        augmented = augmented or of_copies
        key = (place, base.casefold())
        sets[key].append(i)
        if stripped or augmented or base != stem:
            changed.add(key)
        if not augmented:
            with_original.add(key)
        if _ROBOFLOW.search(stem):
            roboflow.add(key)
    shared: dict[str, str] = {}
    across: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for key in sets:
        without = shared.get(key[0])
        if without is None:
            names = [part for part in key[0].split("/") if not part_of(part)]
            without = shared.setdefault(key[0], "/".join(names))
        across[without, key[1]].append(key)
    found: list[list[int]] = []
    for keys in across.values():
        if any(key in changed and (key in roboflow or key not in with_original) for key in keys):
            found.append([i for key in keys for i in sets[key]])
        else:
            found += [sets[key] for key in keys if key in changed]
    return tuple(tuple(sorted(members)) for members in found if len(members) > 1)


def _original(stem: str) -> tuple[str, bool]:
    """Strip what copies and versions have in their names; also, whether a copy's was among it.

    >>> _original("cell_1_jpg.rf.0123456789abcdef"), _original("cell_1_orig"), _original("a_b")
    (('cell_1', True), ('cell_1', False), ('a_b', False))
    """
    augmented = False
    while _hints(stem, _COPY_HINTS):
        match = next(filter(None, (pattern.fullmatch(stem) for pattern in _COPIES)), None)
        augmented = augmented or match is not None
        match = match or _PROCESSED.fullmatch(stem)
        if match is None:
            break
        stem = match["base"]
    return stem, augmented


def _place(folder: str) -> tuple[str, bool, bool]:
    """Strip folders of copies and versions; also, whether copies', and any, were among them."""
    names = folder.split("/")
    rest = [name for name in names if not _COPY_FOLDER.fullmatch(name)]
    of_copies = len(rest) < len(names)
    rest = [name for name in rest if not _VERSION_FOLDER.fullmatch(name)]
    return "/".join(rest).casefold(), of_copies, len(rest) < len(names)


def _hints(text: str, words: tuple[str, ...]) -> bool:
    lower = text.lower()
    return any(word in lower for word in words)


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name
