# docker build -t fastleuk .
# docker run --gpus all --shm-size 4g -v DATA:/data:ro -v RUNS:/work -v CACHE:/cache fastleuk train --data /data
# Without --gpus it trains on the CPU. torch and DALI bring their own CUDA libraries: the base has the driver's side.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS base

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/image.txt /src/requirements/
RUN python3 -m venv /opt/fastleuk \
    && /opt/fastleuk/bin/pip install --no-cache-dir --require-hashes \
        --requirement /src/requirements/image.txt
# A wheel of the package apart: a change of the code changes the last, small layer only.
COPY pyproject.toml README.md LICENSE /src/
COPY fastleuk /src/fastleuk
RUN /opt/fastleuk/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels /src

FROM base

LABEL org.opencontainers.image.title="fastleuk" \
      org.opencontainers.image.description="Train and evaluate leukemia cell classifiers with NVIDIA DALI and PyTorch" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.documentation="docs/index.md in the sources"

# Not root. Runs are written into /work, caches into /cache: mount volumes there to keep them.
# Both may be written by any user, for docker run --user.
RUN useradd --uid 10001 --create-home fastleuk \
    && mkdir /work /cache \
    && chmod 1777 /work /cache
COPY --from=build /opt/fastleuk /opt/fastleuk
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    /opt/fastleuk/bin/pip install --no-cache-dir --no-index --no-deps /wheels/*.whl
USER 10001
ENV PATH=/opt/fastleuk/bin:$PATH \
    FASTLEUK_CACHE_DIR=/cache \
    MPLCONFIGDIR=/cache/matplotlib
VOLUME ["/work", "/cache"]
WORKDIR /work
HEALTHCHECK --interval=30m --timeout=3m --start-period=1m CMD ["fastleuk", "doctor", "--quick"]
ENTRYPOINT ["fastleuk"]
CMD ["--help"]
