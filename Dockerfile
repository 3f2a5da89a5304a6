# syntax=docker/dockerfile:1

# Builds an empty image with one static binary, for amd64 and arm64:
#
#     docker buildx build --platform linux/amd64,linux/arm64 --tag registry.example.com/podcreds:0.1.0 --push .
#
# The builder cross-compiles on its own platform, so the build needs no emulation. rust-lld (.cargo/config.toml) links with
# the musl C runtime that Rust includes. Only ring's C and assembly code needs a C compiler for the target platform. If the
# builder has that platform, the compiler is already installed.
#
# Optional build arguments: RUST, the version of the compiler; REVISION, the Git commit; CREATED, the time of the build (RFC 3339).
# BuildKit reads SOURCE_DATE_EPOCH by itself. .github/workflows/release.yaml sets all of them.

ARG RUST=1
FROM --platform=$BUILDPLATFORM rust:${RUST}-bookworm AS toolchain
# Stores the names and versions of all crates in the binary, so that scanners find known vulnerabilities (docs/decisions/supply-chain.md).
# .ci/run builds with the same version.
ARG CARGO_AUDITABLE=0.7.7
RUN cargo install --locked --debug --version $CARGO_AUDITABLE cargo-auditable

FROM toolchain AS amd64
ENV C_COMPILER=gcc-x86-64-linux-gnu TARGET_CC=x86_64-linux-gnu-gcc CARGO_BUILD_TARGET=x86_64-unknown-linux-musl

FROM toolchain AS arm64
ENV C_COMPILER=gcc-aarch64-linux-gnu TARGET_CC=aarch64-linux-gnu-gcc CARGO_BUILD_TARGET=aarch64-unknown-linux-musl

FROM ${TARGETARCH} AS build
RUN apt-get update \
    && apt-get install --yes $C_COMPILER \
    && rm -rf /var/lib/apt/lists/*
RUN rustup target add $CARGO_BUILD_TARGET
WORKDIR /src
COPY . .
ARG REVISION=
# A locked cache, because the builds for both platforms can run at the same time.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    PODCREDS_REVISION=$REVISION cargo auditable build --release --locked --bin podcreds \
    && cp target/$CARGO_BUILD_TARGET/release/podcreds /podcreds

FROM scratch
# The version of Cargo.toml (tests/release.rs).
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="podcreds" \
      org.opencontainers.image.description="Delivers database credentials to a pod as files" \
      org.opencontainers.image.vendor="podcreds" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="https://github.com/podcreds/podcreds" \
      org.opencontainers.image.url="https://github.com/podcreds/podcreds" \
      org.opencontainers.image.documentation="https://github.com/podcreds/podcreds/tree/main/docs" \
      org.opencontainers.image.base.name="scratch"
# Not at /podcreds, where the volume is mounted.
COPY --from=build /podcreds /bin/podcreds
# A numeric user, so that the kubelet can verify that it is not root (runAsNonRoot). Any other UID works too.
USER 65532:65532
ENTRYPOINT ["/bin/podcreds"]
