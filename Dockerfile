# The gallery with the versions of .docker/requirements.txt:
#
#   docker build --tag lazyrich .
#   docker run --rm --volume "$PWD/figures:/figures" lazyrich
#
# Arguments replace the command: docker run ... lazyrich reproduce figure1 --out /figures
FROM python:3.11-slim

WORKDIR /lazyrich_jax
COPY .docker/requirements.txt .docker/
RUN python -m pip install --no-cache-dir --requirement .docker/requirements.txt
COPY . .
RUN python -m pip install --no-cache-dir --no-deps .

WORKDIR /
ENTRYPOINT ["lazyrich"]
CMD ["reproduce", "--out", "/figures"]
