# A static, non-root image: one binary, no shell, no package manager.
#
#   docker build -t drape .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -p 8443:8443 \
#     -v ./drape:/etc/drape:ro -v drape-data:/var/lib/drape drape
#
# ./drape holds drape.yaml with its policies, TLS files and keys; docs/operations.md tells of the first start.

FROM rust:1.95-alpine AS build
# aws-lc is C and assembly.
RUN apk add --no-cache cmake make gcc g++ musl-dev perl
WORKDIR /src
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY proxy proxy
COPY policies policies
COPY config config
# Not built, but Cargo reads the manifest of every member of the workspace.
COPY conformance conformance
RUN cargo build --locked --profile dist --bin drape \
 && mkdir -p /out/var/lib/drape /out/etc/drape \
 && cp target/dist/drape /out/drape

FROM scratch
COPY LICENSE /LICENSE
COPY --from=build /out/drape /drape
COPY --from=build --chown=65532:65532 /out/var/lib/drape /var/lib/drape
COPY --from=build /out/etc/drape /etc/drape
USER 65532:65532
VOLUME ["/var/lib/drape"]
EXPOSE 8443 9090
ENTRYPOINT ["/drape"]
CMD ["serve", "--config", "/etc/drape/drape.yaml"]
