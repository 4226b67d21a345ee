# medseg on the CPU or on CUDA:
#   docker build --build-arg TORCH=cpu  -t medseg:cpu  .
#   docker build --build-arg TORCH=cuda -t medseg:cuda .
FROM python:3.12-slim

# cpu: 2 GB; cuda: 7 GB, CUDA comes with PyTorch's own packages
ARG TORCH=cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

RUN useradd --create-home --uid 1000 medseg
WORKDIR /opt/medseg
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY medseg ./medseg

RUN index="https://download.pytorch.org/whl/cpu" \
    && if [ "$TORCH" = cpu ]; then \
         pip install --no-cache-dir -c constraints.txt torch --index-url "$index"; \
       elif [ "$TORCH" = cuda ]; then \
         pip install --no-cache-dir -c constraints.txt torch; \
       else \
         echo "TORCH is cpu or cuda, not $TORCH" >&2; exit 1; \
       fi \
    && pip install --no-cache-dir -c constraints.txt ".[onnx,openvino,export,pacs]"

USER 1000
WORKDIR /data
ENTRYPOINT ["medseg"]
CMD ["--help"]
