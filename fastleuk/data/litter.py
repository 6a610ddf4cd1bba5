"""Names of files and folders that operating systems, file systems and NAS devices leave behind."""

from __future__ import annotations

import re

LITTER = "left by an operating system, a file system or a NAS"
HIDDEN_FILE, HIDDEN_FOLDER = "hidden file", "hidden folder"

_FOLDERS = frozenset(
    {
        # Windows, FAT and exFAT
        "$recycle.bin", "recycle.bin", "recycler", "recycled", "system volume information",
        "$extend", "config.msi", "msdownld.tmp",
        # ext2 to ext4, XFS
        "lost+found",
        # macOS, also on foreign volumes
        "__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder",
        "backups.backupdb",
        # Synology, QNAP, NetApp, Asustor
        "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "@recently-snapshot", "@__thumb",
        "@sharebin", "@sharesnap", "@appstore", "@database", "@synologydrive",
        "@synologydrivesharesync",
        "@transcode", "@download", "~snapshot", "snapshot~", "$snap",
        # Programs
        "_gsdata_", "__pycache__", "cvs",
    }
)  # fmt: skip
_FOLDER = re.compile(r"found\.\d{3}|\$windows\..*")

_FILES = frozenset(
    {
        "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "indexervolumeguid",
        "wpsettings.dat", "pagefile.sys", "hiberfil.sys", "swapfile.sys", "icon\r", "icon^m",
        "desktop db", "desktop df", "picasa.ini", "zbthumbnail.info", "synoindex_media_info",
        "aquota.user", "aquota.group", "albumartsmall.jpg",
    }
)  # fmt: skip
_FILE = re.compile(
    r"synophoto_thumb_.*|.*@syno(eastream|resource)|albumart_\{.*\}_(large|small)\.jpg|~\$.*"
)


def litter_reason(name: str, *, folder: bool) -> str:
    """Explain why a file or folder of this name is left out; ``""`` for any other name.

    >>> litter_reason("lost+found", folder=True) == litter_reason("@eaDir", folder=True) == LITTER
    True
    >>> litter_reason(".Trash-1000", folder=True), litter_reason("ALL", folder=True)
    ('hidden folder', '')
    """
    if name.startswith("."):
        return HIDDEN_FOLDER if folder else HIDDEN_FILE
    lower = name.casefold()
    if folder:
        return LITTER if lower in _FOLDERS or _FOLDER.fullmatch(lower) else ""
    return LITTER if lower in _FILES or _FILE.fullmatch(lower) else ""


def path_litter_reason(path: str) -> str:
    """Explain why a POSIX path, such as a tar member's, is left out; ``""`` for any other."""
    *folders, name = path.split("/")
    reasons = (litter_reason(folder, folder=True) for folder in folders)
    return next(filter(None, reasons), "") or litter_reason(name, folder=False)
