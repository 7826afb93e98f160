# decaf on CPUs, below 2 GB:
#   docker build -f docker/cpu.Dockerfile -t decaf:cpu .
#   docker run --rm -v "$PWD:/work" decaf:cpu extract photos/ -o features.h5
FROM python:3.12-slim AS build
WORKDIR /source
# The version of decaf is that of the tag.
RUN apt-get update && apt-get install --yes --no-install-recommends git
RUN python -m venv /opt/decaf
# Before the sources, so that a change of those does not download torch again.
COPY docker/cpu-constraints.txt docker/
RUN /opt/decaf/bin/pip install --no-cache-dir -c docker/cpu-constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu torch torchvision
COPY . .
RUN /opt/decaf/bin/pip install --no-cache-dir -c docker/cpu-constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu .

FROM python:3.12-slim
COPY --from=build /opt/decaf /opt/decaf
ENV PATH=/opt/decaf/bin:$PATH
# Not root: files that are written into a mounted folder can be given to the caller by --user.
RUN useradd --create-home decaf
USER decaf
WORKDIR /work
ENTRYPOINT ["decaf"]
CMD ["--help"]
