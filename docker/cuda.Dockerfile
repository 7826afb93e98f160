# decaf on NVIDIA's GPUs; the libraries of CUDA come with PyTorch, the driver is the machine's:
#   docker build -f docker/cuda.Dockerfile -t decaf:cuda .
#   docker run --rm --gpus all --shm-size 2g -v "$PWD:/work" decaf:cuda extract photos/ -o features.h5
FROM python:3.12-slim AS build
WORKDIR /source
# The version of decaf is that of the tag.
RUN apt-get update && apt-get install --yes --no-install-recommends git
RUN python -m venv /opt/decaf
# Before the sources, so that a change of those does not download torch again.
RUN /opt/decaf/bin/pip install --no-cache-dir torch torchvision
COPY . .
RUN /opt/decaf/bin/pip install --no-cache-dir .

FROM python:3.12-slim
COPY --from=build /opt/decaf /opt/decaf
ENV PATH=/opt/decaf/bin:$PATH
# Not root: files that are written into a mounted folder can be given to the caller by --user.
RUN useradd --create-home decaf
USER decaf
WORKDIR /work
ENTRYPOINT ["decaf"]
CMD ["--help"]
