# The image of Bugle: only the program, on a base without a shell.
#
#   docker build -t bugle .
#   docker run -p 8080:8080 -v bugle-data:/data bugle

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# An empty folder: a new volume takes its owner and mode from it.
RUN cargo build --release --locked -p bugle && mkdir /data

# glibc, certificates and an unprivileged user (65532).
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/bugle /usr/bin/bugle
COPY --from=build --chown=nonroot:nonroot --chmod=700 /data /data
ENV BUGLE_SERVER__LISTEN=0.0.0.0:8080 \
    BUGLE_SERVER__DATA=/data \
    BUGLE_LOG__FORMAT=json
USER nonroot
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
# The image has no shell and no curl, so the program checks itself.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["/usr/bin/bugle", "health"]
ENTRYPOINT ["/usr/bin/bugle"]
CMD ["serve"]
