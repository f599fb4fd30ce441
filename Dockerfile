# The broker as an image: no compiler, no pip, no root.
#   docker build --build-arg VERSION=0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" -t agent-broker .

FROM python:3.13-slim AS build
WORKDIR /source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# The pins come first: their layers stay while only the source changes.
COPY requirements/build.txt requirements/run.txt requirements/
RUN pip install --require-hashes --requirement requirements/build.txt
# Built at its final path, as scripts in a virtual environment name their interpreter by its path.
RUN python -m venv --without-pip /opt/broker \
 && pip --python /opt/broker/bin/python install --require-hashes --requirement requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY docs/operations.md docs/
COPY src src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/broker/bin/python install --no-deps /wheels/*.whl

FROM python:3.13-slim
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="agent-broker" \
      org.opencontainers.image.description="Message broker and agent registry for multi-agent systems" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/broker /opt/broker
# Shows that the image works, and compiles what the broker needs of the standard library: the base
# image comes without, and later nobody may write.
RUN /opt/broker/bin/python -c "import broker.service, broker.cli.application, http.client"
ENV PATH=/opt/broker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BROKER_HTTP_HOST=:: \
    BROKER_HTTP_PORT=9780
# A `.env` may be mounted here.
WORKDIR /etc/broker
# A number, so that Kubernetes can verify that it is not root.
USER 65532:65532
EXPOSE 9780
STOPSIGNAL SIGTERM
# A probe takes up to 3 s to detect that something is stuck.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, sys; from http.client import HTTPConnection; connection = HTTPConnection('127.0.0.1', int(os.environ['BROKER_HTTP_PORT']), timeout=4); connection.request('GET', '/livez'); sys.exit(connection.getresponse().status != 200)"]
ENTRYPOINT ["broker"]
