# The service in a container: the network, its model store and the pinned packages, nothing else.
#   docker build --build-arg TORCH_INDEX=<index of CPU wheels> -t facial-emotion .        CPU
#   docker build -t facial-emotion:cuda .                                                CUDA
# The registry's own torch wheels are the CUDA build; TORCH_INDEX names where to get smaller ones.
ARG BASE_IMAGE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH_INDEX=
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 BENTOML_DO_NOT_TRACK=True
WORKDIR /app
RUN python3 -m venv /app/venv
COPY requirements.txt constraints.txt ./
# The packages alone, before the code: a change of code keeps this layer. Without the local label
# (+cpu) the pin also fits the wheels of another index, which need none of CUDA's. Those of the
# CUDA build cannot be left out: torch's libraries are linked to them and it would not load.
# nvidia-ml-py is BentoML's, which does not start without it.
# Triton (1 GB) compiles networks, which serving does not do.
RUN if [ -n "$TORCH_INDEX" ]; then \
        venv/bin/pip install --no-deps --index-url "$TORCH_INDEX" "$(grep -o '^torch==[^ ]*' requirements.txt)" \
        && sed -i -E '/^nvidia-ml-py==/!{/^(cuda|nvidia)/,/[^\\]$/d}' requirements.txt; \
    fi \
    && sed -i '/^triton==/,/[^\\]$/d' requirements.txt \
    && venv/bin/pip install --no-deps --requirement requirements.txt \
    && venv/bin/pip install --no-deps --constraint constraints.txt --target tools onnx ml_dtypes \
    && venv/bin/pip uninstall --yes pip
COPY LICENSE ./
COPY service service
COPY search search
COPY models models
# Fails with one line where the model is absent or torn. The graph is made here, so its tools stay
# behind. The network lies in the store then, and of models/ only its licence stays.
RUN BENTOML_HOME=/app/store PYTHONPATH=/app/tools venv/bin/python -m search publish \
    && venv/bin/python -m compileall -q service \
    && rm -rf search models/*/ tools requirements.txt constraints.txt

FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="facial-emotion" \
      org.opencontainers.image.description="Names the expression in face images over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0 AND LicenseRef-FER2013-research-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /app /app
# Nothing is written but under /tmp, so the root file system may be read-only. /metrics names the
# commit.
ENV PATH=/app/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BENTOML_HOME=/app/store \
    BENTOML_DO_NOT_TRACK=True \
    REVISION=${REVISION} \
    HOME=/tmp
WORKDIR /app
USER 10001:10001
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz', timeout=4)"]
CMD ["bentoml", "serve", "service.app:FacialEmotion", "--host", "0.0.0.0", "--port", "3000"]
