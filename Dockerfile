# docker build -t nano-banana-mcp .
# EXTRAS="" leaves PostgreSQL and SOCKS proxies out, for one server that keeps its ledger in the volume.
FROM python:3.13-slim AS build
ARG EXTRAS="[postgres,socks]"
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY server ./server
COPY tools ./tools
RUN python -m venv /opt/nano-banana-mcp
RUN /opt/nano-banana-mcp/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".${EXTRAS}" \
    && /opt/nano-banana-mcp/bin/pip uninstall --yes --quiet pip

FROM python:3.13-slim
# The numbers are fixed: files in volumes keep their owner from one image to the next.
RUN groupadd --gid 10001 nano-banana \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nano-banana \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/nano-banana-mcp /etc/nano-banana-mcp
COPY --from=build /opt/nano-banana-mcp /opt/nano-banana-mcp
ENV PATH=/opt/nano-banana-mcp/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NANO_BANANA_STATE_DIR=/var/lib/nano-banana-mcp
USER 10001:10001
VOLUME ["/var/lib/nano-banana-mcp"]
EXPOSE 8000
# http.client, since urllib would ask a proxy that the environment names.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('NANO_BANANA_PORT') or 8000), timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["nano-banana-mcp"]
CMD ["serve", "--http", "--host", "0.0.0.0"]
