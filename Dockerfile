# SPDX-FileCopyrightText: The Berth Authors
# SPDX-License-Identifier: Apache-2.0

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=unknown
# The binary looks at its own name: the links are what Kubeflow's manifests start.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false \
      -ldflags "-s -w -X berth.dev/berth/internal/cli.version=$VERSION" -o /out/berth ./cmd/berth \
 && ln -s berth /out/manager \
 && ln -s berth /out/access-management

FROM gcr.io/distroless/static:nonroot
COPY --from=build /out/ /
# The user "nonroot" by number, because runAsNonRoot can't tell from a name.
USER 65532:65532
ENTRYPOINT ["/berth"]
