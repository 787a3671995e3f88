# Two stages: the first builds a wheel and installs it with the locked packages, the second only runs it.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.txt ./
RUN python -m venv /opt/access-monitor && /opt/access-monitor/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE config.example.toml ./
COPY monitor ./monitor
COPY rules ./rules
COPY templates ./templates
COPY deploy ./deploy
RUN /opt/access-monitor/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/access-monitor access-monitor
COPY --from=build /opt/access-monitor /opt/access-monitor
ENV PATH=/opt/access-monitor/bin:$PATH STATE_DIRECTORY=/var/lib/access-monitor PYTHONUNBUFFERED=1
USER 10001
VOLUME /var/lib/access-monitor
STOPSIGNAL SIGTERM
ENTRYPOINT ["access-monitor", "--config", "/etc/access-monitor/config.toml"]
CMD ["run"]
