"""Names of backbones: timm's own, of the model hub, of a folder. Nothing heavy is imported."""

from __future__ import annotations

HUB, FOLDER = "hf-hub:", "local-dir:"


def source_of(backbone: str) -> tuple[str, str]:
    """Return where a name comes from (``HUB``, ``FOLDER`` or empty: timm), and what is left of it.

    >>> source_of("hf-hub:1aurent/vit_small_patch14_224.dinobloom")
    ('hf-hub:', '1aurent/vit_small_patch14_224.dinobloom')
    >>> source_of("resnet18.a1_in1k")
    ('', 'resnet18.a1_in1k')
    """
    head, colon, rest = backbone.partition(":")
    source = f"{head.lower().replace('_', '-')}:"
    return (source, rest) if colon and source in (HUB, FOLDER) else ("", backbone)


def file_name(backbone: str) -> str:
    """Return a name that fits into that of a file or a folder.

    >>> file_name("hf-hub:1aurent/vit_small_patch14_224.dinobloom")
    'vit_small_patch14_224.dinobloom'
    >>> file_name("efficientnet_b3")
    'efficientnet_b3'
    """
    return source_of(backbone)[1].rstrip("/").rpartition("/")[2].replace(":", "-")
