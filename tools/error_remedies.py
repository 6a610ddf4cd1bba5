"""Remedies of error messages that name only the cause, for the page of error messages."""

from __future__ import annotations

import re

_OWN = re.compile(
    r"--[a-z]|\bmust\b|\bpip install\b|`fastleuk|\bat most\b|\bwithin \[|skip_bad|"
    r"\b(add|begin|bring|call|change|check|choose|connect|convert|copy|cut|"
    r"decode|draw|fill|free|get|give|install|keep|leave|look|lower|make|mend|name|needs?|pass|put|raise|"
    r"remove|rename|repeat|restart|restore|resume|run|save|scale|see|set|spell|split|start|stop|"
    r"take|train|try|unset|use|wait|write)\b",
    re.IGNORECASE,
)

_RULES = (
    (r"but ‹rule›", "The end of the message is what is allowed."),
    (r"learning rate|not finite", "Lower `--lr`, or train without `--amp`; look at the images named."),
    (r"part of .* has no image", "Choose another `--part`."),
    (r"trained with batches of", "Choose `--batch-size` and the number of processes such that their product stays."),
    (r"averaged", "Average checkpoints of one run: `--keep-best` writes them."),
    (r"same classes|know the classes", "Take runs, or data, with the same classes."),
    (r"holds no figures|has no ‹missing›", "Let the run end, or leave it out of the comparison."),
    (r"lacks class_names|no rows or no", "Give `fastleuk evaluate` for the run, which writes it anew."),
    (r"without a word", "Read what it printed above; with less memory lower `--batch-size`."),
    (r"did you mean", "Correct the name."),
    (r"near names", "Correct the name; all keys are on the page Commands."),
    (r"unknown step|no preset", "Choose one of the names that the message lists."),
    (r"not valid TOML", "Correct the file at the line that the message names."),
    (r"configuration .* can't be read|policy .* can't be read|read the configuration",
     "Check the path and the permissions of the file."),
    (r"drawn for", "Draw the parameters for the size that you apply them with."),
    (r"bfloat16 is for tensors", "Ask for float32, or for float16."),
    (r"has no pixels", "Leave the empty image out of the batch."),
    (r"takes uint8|an array of|other images than float32|float32$",
     "Convert the images first, or choose another applier or dtype."),
    (r"pixels are on", "Put the pixels and the batches on one device."),
    (r"tar shards", "Benchmark a folder or a manifest instead."),
    (r"listed more than once", "Keep one row for each path."),
    (r"paths outside", "Move the images into the folder, or name a folder above all of them as the root."),
    (r"decoded cache|checksum", "`fastleuk cache clear` removes it; the next run builds it anew."),
    (r"rows that can't be used|not a whole number of pixels|missing column|no column|no row|as a CSV",
     "Correct the CSV: the message names the rows or columns."),
    (r"\.tar|uncompressed tar|shard|no sample|member", "Copy the shard again, or pack the data anew with `fastleuk pack`."),
    (r"no image in it", "Give the folder of the images; the message says what lies there instead."),
    (r"no usable image", "Bring readable images of this class, or remove its folder."),
    (r"no such|nothing matches", "Check the path; patterns stand in quotes."),
    (r"image|truncated|shorter than its header",
     "Fetch the file again, or go without it: `--skip-bad`."),
    (r"no run folder", "Give the folder that `fastleuk train` made; `fastleuk runs` lists them."),
    (r"undefined for these samples", "The part has one class only: take another part, or more subjects."),
    (r"metric|labels that are no class|threshold is of classes",
     "Pass labels, probabilities and classes that belong together."),
    (r"takes .* runs at most", "Compare fewer runs at a time."),
    (r"timm knows no", "Correct the name: `timm.list_models()` has them all."),
    (r"the applier .*", "Choose another applier; `fastleuk gpu-check` shows what fails."),
    (r"refused the request", "Check the name, and that you are allowed to: `hf auth login`."),
    (r", column ‹", "Correct the value, or make the file anew with the command that wrote it."),
    (r"says no architecture", "Export the run anew."),
    (r"lacks|damaged|not made by fastleuk|belongs", "Make it anew with the command that wrote it."),
    (r"can't be (read|written|used)", "Check the path, the permissions and the disk; fetch a damaged file again."),
)  # fmt: skip
"""Of the first pattern that is found in a message, the remedy."""


def names_a_remedy(message: str) -> bool:
    """Whether a message says itself what to do, or what is accepted.

    >>> names_a_remedy("‹out› is there already. Name a new folder."), names_a_remedy("‹path›: damaged")
    (True, False)
    """
    return bool(_OWN.search(re.sub(r"‹[^›]*›", "", message)))


def remedy(message: str) -> str:
    """Return what to do about a message that does not say it; empty if nobody knows."""
    for pattern, text in _RULES:
        if re.search(pattern, message, re.IGNORECASE):
            return text
    return ""
