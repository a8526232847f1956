# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
COPY requirements/edge.lock /tmp/edge.lock
RUN python -m venv /opt/graywave \
 && /opt/graywave/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/edge.lock

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/graywave --create-home graywave
COPY --from=build /opt/graywave /opt/graywave
COPY channel /opt/graywave/app/channel
COPY cli /opt/graywave/app/cli
COPY custody /opt/graywave/app/custody
COPY edge /opt/graywave/app/edge
COPY publisher /opt/graywave/app/publisher
COPY ruleset /opt/graywave/app/ruleset
COPY settings /opt/graywave/app/settings
COPY trust /opt/graywave/app/trust
RUN printf '#!/bin/sh\nexec /opt/graywave/bin/python -m cli "$@"\n' > /usr/local/bin/graywave \
 && chmod 755 /usr/local/bin/graywave \
 && PYTHONPATH=/opt/graywave/app /opt/graywave/bin/python -m compileall -q /opt/graywave/app
ENV PYTHONPATH=/opt/graywave/app PYTHONUNBUFFERED=1 GRAYWAVE_EDGE_DATA=/var/lib/graywave
USER graywave
VOLUME /var/lib/graywave
EXPOSE 8080
STOPSIGNAL SIGTERM
# The edge's admin listener; other commands of the image bring a check of their own (config/compose.yaml).
HEALTHCHECK --interval=5s --timeout=2s --start-period=10s CMD ["/opt/graywave/bin/python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
ENTRYPOINT ["graywave"]
CMD ["edge"]
