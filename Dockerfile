# docker build -t difftuning .
# mkdir -p runs && docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD/runs:/work/runs" difftuning demo --quick
# Docker would make a missing folder as root, and what runs is not root: runs has to be there, and is written to by its owner.
# With a GPU: docker run --gpus all ... ; the wheels of torch bring their own CUDA.
FROM python:3.12-slim
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY recipes recipes
RUN pip install --no-cache-dir . && difftuning doctor
RUN useradd --create-home user && mkdir -p /work/runs && chown -R user /work
USER user
WORKDIR /work
ENTRYPOINT ["difftuning"]
CMD ["--help"]
