# syntax=docker/dockerfile:1

# The image of log-shipper: the program and what it links to, and nothing else: no shell, no package manager, not root.
#
#   docker build --tag log-shipper .
#   docker run --rm --env-file log-shipper.env log-shipper          # run
#   docker run --rm --env-file log-shipper.env log-shipper check    # any other command

# The version is that of `rust-version` in Cargo.toml; the Debian is that of the second stage, so that both have the
# same C library.
FROM rust:1.95-bookworm AS build
WORKDIR /src

# The dependencies have a layer of their own, which is built anew only when the two files change. Cargo wants every
# target that Cargo.toml names to be there, so that empty ones stand in.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/nats_to_wire \
    && touch src/lib.rs \
    && for file in src/main.rs benches/instructions.rs benches/micro.rs benches/nats_to_wire/main.rs; do \
        echo 'fn main() {}' > "$file"; \
    done \
    && cargo build --locked --release --bin log-shipper

# `log-shipper init` has fly.toml within it.
COPY fly.toml ./
COPY src src
# Cargo goes by the time of a file, and those that were copied may be older than the ones that stood in for them.
RUN touch src/lib.rs src/main.rs \
    && cargo build --locked --release --bin log-shipper \
    && mkdir -p /out/data \
    && cp target/release/log-shipper /out/log-shipper

# glibc, libgcc and the certificates of public authorities. A static program with musl would do without the libraries, but
# all figures of BENCHMARKS.md are those of glibc's allocator.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/log-shipper /usr/local/bin/log-shipper
# A fresh volume takes over who owns the directory that it is mounted on, so that `-v logs:/data -e DATA_DIR=/data` works.
COPY --from=build --chown=65532:65532 /out/data /data
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
# 8686: the status page and health; 9598: metrics. Outside Fly.io both are on loopback unless API_ADDRESS and
# METRICS_ADDRESS say otherwise.
EXPOSE 8686 9598
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/log-shipper", "health"]
ENTRYPOINT ["/usr/local/bin/log-shipper"]
CMD ["run"]
