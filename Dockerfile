# Two images: `api` (no torch) and `worker`.
#   docker build --target api -t personalseg-api .
#   docker build --target worker -t personalseg-worker .                       (CPU)
#   docker build --target worker --build-arg TORCH_INDEX= -t personalseg-worker . (torch from PyPI: CUDA on Linux)

FROM python:3.11-slim AS requirements
WORKDIR /src
COPY pyproject.toml ./
# The requirements alone, so that a change of the code does not install them again.
RUN python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; e = p["optional-dependencies"]; \
api = p["dependencies"] + e["postgres"] + e["s3"] + e["otel"]; \
open("api.txt", "w").write("\n".join(api)); open("worker.txt", "w").write("\n".join(api + e["worker"]))'

FROM python:3.11-slim AS api-build
RUN python3 -m venv /opt/personalseg
COPY --from=requirements /src/api.txt /tmp/
RUN /opt/personalseg/bin/pip install --no-cache-dir --disable-pip-version-check -r /tmp/api.txt
WORKDIR /src
COPY . .
RUN /opt/personalseg/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM python:3.11-slim AS runtime
# The same number in both images: they share the volume of the blobs.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin personalseg \
    && install -d -o personalseg -g personalseg -m 0750 /data \
    && install -d -o personalseg -g personalseg -m 0700 /scratch \
    && install -d -o personalseg -g personalseg -m 0700 /run/secrets
ENV PATH=/opt/personalseg/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PERSONALSEG_DATA_DIR=/data \
    PERSONALSEG_LOG_JSON=true
USER personalseg
WORKDIR /data
VOLUME /data

FROM runtime AS api
COPY --from=api-build /opt/personalseg /opt/personalseg
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=5 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "--factory", "app.main:app_factory", "--host", "0.0.0.0", "--port", "8000", \
     "--no-access-log", "--no-proxy-headers", "--timeout-keep-alive", "75", "--timeout-graceful-shutdown", "5"]

# After `api`, so that builders which go through the stages in order do not fetch torch for it.
FROM python:3.11-slim AS worker-build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python3 -m venv /opt/personalseg
COPY --from=requirements /src/worker.txt /tmp/
RUN /opt/personalseg/bin/pip install --no-cache-dir --disable-pip-version-check \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r /tmp/worker.txt
WORKDIR /src
COPY . .
RUN /opt/personalseg/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps .

FROM runtime AS worker
COPY --from=worker-build /opt/personalseg /opt/personalseg
# Threads that spin for long while they wait take the cores from other containers (docs/decisions/0020).
ENV GOMP_SPINCOUNT=1000
# In the volume: the container's own file system is read-only, and fetched once is enough for all workers.
ENV PERSONALSEG_WEIGHTS_DIR=/data/weights
# Prometheus asks it; published by nobody.
EXPOSE 9100
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 CMD ["python", "-m", "workers.health"]
STOPSIGNAL SIGTERM
CMD ["python", "-m", "workers", "--queue", "segmentation", "--queue", "adaptation"]
