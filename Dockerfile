# Not run here, for want of Docker; a test runs the command of RUN in a fresh environment.
#
#   docker build -t nas-search .                                     # search, costs, pictures
#   docker build -t nas-search --build-arg EXTRAS='[run]' .          # and training, export, proof
#   docker run --rm -v "$PWD/runs:/data/runs" nas-search --device cortex-m7 --sram 256k --flash 1m
FROM python:3.11-slim
ARG EXTRAS=""
COPY . /src
RUN python -m pip install --no-cache-dir -c /src/constraints.txt "/src${EXTRAS}"
WORKDIR /data
ENTRYPOINT ["nas-search"]
