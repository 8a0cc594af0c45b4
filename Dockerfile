# The static binary on an empty base, as an unprivileged user.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY oauth/internal/oryx oauth/internal/oryx
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /gatehouse ./cmd/gatehouse && mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /gatehouse /gatehouse
COPY --from=build --chown=65532:65532 --chmod=700 /data /data
USER 65532:65532
ENV GATEHOUSE_DATABASE_URL=sqlite:/data/gatehouse.db GATEHOUSE_LISTEN=0.0.0.0:8080
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["/gatehouse"]
CMD ["serve"]
