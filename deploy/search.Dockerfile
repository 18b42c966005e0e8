# Search and training in a container, for the jobs in kubernetes/; from the root of the repository:
#   docker build --file deploy/search.Dockerfile -t facial-emotion-search .
# The registry's torch is the CUDA build; the image has no server, no BentoML and no compiler.
ARG BASE_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python3 -m venv /app/venv
COPY constraints.txt ./
RUN venv/bin/pip install --constraint constraints.txt \
        matplotlib numpy optuna pillow psycopg2-binary safetensors torch tqdm \
    && venv/bin/pip uninstall --yes pip \
    && rm constraints.txt
COPY LICENSE ./
COPY service service
COPY search search
# A teacher to distil from, and what is evaluated where no artifact is named.
COPY models models
RUN venv/bin/python -m compileall -q service search

FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="facial-emotion-search" \
      org.opencontainers.image.description="Searches and trains networks for facial-emotion" \
      org.opencontainers.image.licenses="Apache-2.0 AND LicenseRef-FER2013-research-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
# The models' cards name the commit that they were trained with; git is not here to say it.
ENV PATH=/app/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    REVISION=${REVISION} \
    HOME=/tmp
WORKDIR /app
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["python", "-m", "search", "--help"]
