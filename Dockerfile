# docker build -t fastleuk . && docker run --gpus all -v DATA:/data -v RUNS:/work fastleuk train --data /data
FROM nvidia/cuda:12.6.3-base-ubuntu24.04

RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE /src/
COPY fastleuk /src/fastleuk
RUN python3 -m venv /opt/fastleuk \
    && /opt/fastleuk/bin/pip install --no-cache-dir '/src[bundled]' \
    && rm -rf /src

# Not root: a run writes into /work, caches into /cache. Mount volumes there to keep them.
RUN useradd --uid 10001 --create-home fastleuk \
    && mkdir /work /cache \
    && chown fastleuk /work /cache
USER fastleuk
ENV PATH=/opt/fastleuk/bin:$PATH FASTLEUK_CACHE_DIR=/cache
VOLUME ["/work", "/cache"]
WORKDIR /work
ENTRYPOINT ["fastleuk"]
CMD ["--help"]
