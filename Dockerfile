# syntax=docker/dockerfile:1

# The build runs on the builder's own platform and cross-compiles: no emulation.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=unknown
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X github.com/evently/workers/app.linked=$VERSION" -o /evently-workers .

# Static: certificate authorities, time zones, /tmp and a user, but no shell, no
# package manager and no libc. "nonroot" is uid 65532.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /evently-workers /evently-workers
USER 65532:65532
# 8004: health. The monitor (5555) listens on loopback by default.
EXPOSE 8004
# The worker itself goes back to work after every fault it can survive; this is
# for orchestrators that restart what stays unhealthy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["/evently-workers", "health"]
# SIGTERM: drain for SHUTDOWN_GRACE (25 s), give back the rest. Let the
# orchestrator wait longer than that before it kills.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/evently-workers"]
CMD ["run"]
