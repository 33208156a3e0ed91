# The gateway and the real Envoy (a Python package carries it), without a compiler and without root.
# `make image-check` runs these steps where there is no docker.

FROM python:3.11 AS build
# The hot path is built as C, which takes minutes; with --build-arg SLUICE_COMPILE= it stays Python.
ARG SLUICE_COMPILE=1
WORKDIR /src
COPY pyproject.toml setup.py requirements.lock README.md LICENSE ./
COPY extproc extproc
RUN python -m venv /opt/sluice \
    && /opt/sluice/bin/python -m pip install --no-cache-dir --constraint requirements.lock ".[redis]"

FROM python:3.11-slim
RUN groupadd --gid 10001 sluice \
    && useradd --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin sluice \
    && mkdir -p /data \
    && chown 10001:10001 /data
COPY --from=build /opt/sluice /opt/sluice
ENV PATH=/opt/sluice/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LLM_GATEWAY_HOST=0.0.0.0
USER 10001:10001
# Everything that is written goes here: /data/.sluice. The root file system may be read-only.
WORKDIR /data
VOLUME /data
EXPOSE 5055
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os; c = h.HTTPConnection('localhost', int(os.environ.get('LLM_GATEWAY_PORT') or 5055), timeout=5); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sluice"]
CMD ["up"]
