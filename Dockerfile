# syntax=docker/dockerfile:1
# One image for every service of docker-compose.yml but PostgreSQL.
# BASE: any Debian-like image with Python 3.11 or newer and its venv module, the same in both stages.
ARG BASE=python:3.11.14-slim-bookworm

FROM ${BASE} AS build
WORKDIR /source
# What it is made of is pinned, with hashes, by .ci/lock.
COPY requirements-image.txt ./
RUN python3 -m venv /opt/grovekeeper \
    && /opt/grovekeeper/bin/pip install --no-cache-dir --require-hashes -r requirements-image.txt
COPY pyproject.toml README.md LICENSE ./
COPY grovekeeper grovekeeper
COPY search search
COPY storage storage
RUN /opt/grovekeeper/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && find /opt/grovekeeper -name tests -type d -prune -exec rm -rf {} + \
    && rm -rf /opt/grovekeeper/lib/python3*/site-packages/pip*

FROM ${BASE}
COPY --from=build /opt/grovekeeper /opt/grovekeeper
# A plain user. Volumes that are mounted here take the owner of these folders.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin grovekeeper \
    && install -d -o grovekeeper -g grovekeeper /artifacts /work
ENV PATH=/opt/grovekeeper/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /work
CMD ["grovekeeper", "--help"]
