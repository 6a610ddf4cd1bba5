"""The loader's DALI graphs: from what a feed gives to decoded images, and to whole batches."""

from __future__ import annotations

from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from fastleuk.augment import apply_graph, param_names
from fastleuk.augment.appliers.compiled.in_dali import resize_bmps
from fastleuk.augment.appliers.exact import merge, resize, split
from fastleuk.loading.dali.feed import Feed
from fastleuk.loading.decode.dali import count_inputs, decode_bytes, decode_graph, read_graph

Moments = tuple[float, ...]


def batches_graph(
    feed: Feed,
    *,
    mean: Moments,
    std: Moments,
    resized: bool,
    dtype: types.DALIDataType,
    device: str,
) -> tuple[DataNode, DataNode, DataNode]:
    """Images and parameters in; images, labels, indices out.

    Args:
        feed: Where they come from, and what is done to them.
        mean: Channel means in 0–1 units.
        std: Channel standard deviations in 0–1 units.
        resized: The images are known to have the output's size.
        dtype: Of augmented images.
        device: ``cpu`` or ``gpu``: where the batches are.
    """
    names = [] if feed.policy is None else param_names(feed.applier)
    labels, indices, *params = fn.external_source(
        source=feed.next_parameters, num_outputs=2 + len(names), batch=True
    )
    on_host = feed.applier == "compiled-host" and feed.policy is not None
    decoded = decoded_graph(feed, "cpu" if on_host else device)
    images = _finish(feed, decoded, params, mean, std, resized, dtype, device)
    if device == "gpu":  # torch refuses the pinned memory a CPU output would be in
        labels, indices = labels.gpu(), indices.gpu()
    return images, labels, indices


def decoded_graph(feed: Feed, device: str) -> DataNode:
    """Decoded uint8 images: from GPU memory, from the mapped cache, or from the files.

    Uncompressed BMPs that need no decoding come resized.
    """
    if feed.uncompressed is not None:
        return _read_files(feed)
    if feed.pixels is None:
        nodes = fn.external_source(
            source=feed.next_files, num_outputs=count_inputs(feed.manifest), batch=True
        )
        return decode_graph(feed.manifest, list(nodes), device)
    if feed.pixels.resident is not None:
        return fn.external_source(
            source=feed.next_resident, batch=True, device=device, layout="HWC"
        )
    images = fn.external_source(
        source=feed.next_mapped,
        batch=True,
        layout="HWC",
        # The views outlive the batch, for the feed holds the cache. A GPU graph copies them
        # into pinned memory, from which the upload is asynchronous.
        no_copy=device == "cpu",
    )
    return images.gpu() if device == "gpu" else images


def _read_files(feed: Feed) -> DataNode:
    """Decoded images on the CPU; plain BMPs are resized from the bytes of the files."""
    *nodes, plain = fn.external_source(
        source=feed.next_files, num_outputs=1 + count_inputs(feed.manifest), batch=True
    )
    files, others = split(plain, (read_graph(feed.manifest, nodes[0]), *nodes[1:]))
    return merge(plain, resize_bmps(*files, size=feed.size), decode_bytes(*others, device="cpu"))


def _finish(
    feed: Feed,
    images: DataNode,
    params: list[DataNode],
    mean: Moments,
    std: Moments,
    resized: bool,
    dtype: types.DALIDataType,
    device: str,
) -> DataNode:
    """Resize, augment and normalise to float HWC."""
    if feed.policy is None:
        if not resized:
            images = resize(images, feed.size)
        return fn.crop_mirror_normalize(
            images,
            mean=[255 * value for value in mean],
            std=[255 * value for value in std],
            output_layout="HWC",
            dtype=types.FLOAT,
        )
    return apply_graph(
        images,
        params,
        size=feed.size,
        applier=feed.applier,
        interpolation=feed.policy.interpolation,
        mean=mean,
        std=std,
        dtype=dtype,
        device=device,
        resized=resized,
    )
