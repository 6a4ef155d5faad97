# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY streamgmm ./streamgmm
RUN python -m venv /opt/streamgmm && /opt/streamgmm/bin/pip install .

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 streamgmm \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/streamgmm --shell /usr/sbin/nologin streamgmm \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/streamgmm /var/cache/streamgmm
COPY --from=build /opt/streamgmm /opt/streamgmm
# Compiled kernels are code that is loaded later: nobody else may write where they lie. They depend on the processor, so
# they are made at the first start and not here; a volume keeps them.
ENV PATH=/opt/streamgmm/bin:$PATH NUMBA_CACHE_DIR=/var/cache/streamgmm PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/streamgmm
VOLUME ["/var/lib/streamgmm", "/var/cache/streamgmm"]
EXPOSE 8642
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8642/livez', timeout=4)"]
ENTRYPOINT ["streamgmm"]
CMD ["run", "--config", "/etc/streamgmm/streamgmm.yaml"]
