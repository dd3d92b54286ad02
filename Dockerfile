# septool for processors: docker build -t septool . && docker run --rm -v "$PWD:/w" septool separate call.m4a
# Files belong to user 1000; for those of somebody else add --user "$(id -u):$(id -g)".
# Weights of the package are inside; those that are fetched by name go to /cache, a volume to keep them in.
FROM python:3.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# PESQ's code is published as source alone and built here; nothing of the compiler is in the image.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/septool
ENV PATH=/opt/septool/bin:$PATH
# The build of torch without CUDA, which is what makes the difference between 1 and 6 GB.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install "torch>=2.11,<2.15" "torchaudio>=2.11" --index-url "$TORCH_INDEX"
COPY . /source
RUN pip install "/source[av,plot,serve]"

FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="septool" \
      org.opencontainers.image.description="Takes apart recordings in which people talk over each other" \
      org.opencontainers.image.source="https://github.com/septool/septool" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --create-home --uid 1000 septool && install -d -m 1777 /w /cache
COPY --from=build /opt/septool /opt/septool
ENV PATH=/opt/septool/bin:$PATH \
    SEPTOOL_CACHE=/cache/septool \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1
USER 1000
WORKDIR /w
VOLUME /cache
ENTRYPOINT ["septool"]
CMD ["--help"]
