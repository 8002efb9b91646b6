# docker build -t dragoman .                              for CPUs
# docker build -t dragoman:cuda --build-arg DEVICE=cuda . for NVIDIA's GPUs: PyTorch brings CUDA, the host the driver
FROM python:3.11-slim-bookworm AS build
ARG DEVICE=cpu
# Of pyproject.toml, with commas.
ARG EXTRAS=serve
WORKDIR /src
RUN python -m venv /opt/dragoman
ENV PATH=/opt/dragoman/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt ./
# Without its dependencies: those come from the package index, as constraints.txt has them.
RUN case "$DEVICE" in \
      cpu) pip install --no-deps -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch ;; \
      cuda) pip install -c constraints.txt torch ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install -c constraints.txt ".[$EXTRAS]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/dragoman /opt/dragoman
# Whoever runs it, by whatever number, can fetch models into /cache and keep jobs in /jobs; volumes that are mounted there
# for the first time get this owner and these rights.
RUN useradd --uid 10001 --gid 0 --home-dir /cache --no-log-init dragoman \
    && install -d -o dragoman -g root -m 1777 /cache /jobs
ENV PATH=/opt/dragoman/bin:$PATH \
    HOME=/cache XDG_CACHE_HOME=/cache HF_HOME=/cache/huggingface \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /cache
EXPOSE 8000
USER 10001:0
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["dragoman"]
CMD ["serve", "--host", "0.0.0.0"]
