"""The loader's DALI graphs: from what a feed gives to decoded images, and to whole batches."""

from __future__ import annotations

from functools import partial

from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from fastleuk.augment import apply_graph, param_names
from fastleuk.augment.appliers.exact import resize
from fastleuk.augment.dali.graph import apply_graph_to_files
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
    if feed.uncompressed is not None:
        images = _from_files(feed, params, mean, std)
    else:
        on_host = feed.applier == "compiled-host" and feed.policy is not None
        decoded = decoded_graph(feed, "cpu" if on_host else device)
        images = _finish(feed, decoded, params, mean, std, resized, dtype, device)
    if device == "gpu":  # torch refuses the pinned memory a CPU output would be in
        labels, indices = labels.gpu(), indices.gpu()
    return images, labels, indices


def decoded_graph(feed: Feed, device: str) -> DataNode:
    """Decoded uint8 images: from GPU memory, from the mapped cache, or from the files."""
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


def _from_files(feed: Feed, params: list[DataNode], mean: Moments, std: Moments) -> DataNode:
    """From the files to normalised images; plain BMPs that are augmented are not decoded."""
    source, *crops, plain_bmp = fn.external_source(
        source=feed.next_files, num_outputs=1 + count_inputs(feed.manifest), batch=True
    )
    return apply_graph_to_files(
        read_graph(feed.manifest, source),
        plain_bmp,
        params,
        decode=partial(decode_bytes, device="cpu"),
        decode_nodes=crops,
        size=feed.size,
        mean=mean,
        std=std,
    )


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
