#!/usr/bin/env bash
# Releases the image and the chart by calling the tools directly: what the pipeline is measured against. It does what the pipeline
# does and nothing that could be left out, with the same flags, so that what the two differ in is the pipeline's own.
#
# It runs in the root of the repository and takes everything from the environment:
#   UPSTREAM       where packages come from, such as http://127.0.0.1:8080
#   UPSTREAM_FINGERPRINT
#                  that of the key that signs them
#   IMAGES CHARTS  repositories in a registry for the image and for the chart, the latter ending in the chart's name
#   BASE_IMAGE     image to build on, by tag
#   DB_REPOSITORY  Trivy's vulnerability database
#   PLATFORM       platform to build for, such as linux/amd64
#   STATE          directory for the build cache and the vulnerability database; what is there from an earlier run is used
#   OUT            directory for reports, the chart's archive and the chart repository
set -euo pipefail

: "${UPSTREAM:?}" "${UPSTREAM_FINGERPRINT:?}" "${IMAGES:?}" "${CHARTS:?}" "${BASE_IMAGE:?}"
: "${DB_REPOSITORY:?}" "${PLATFORM:?}" "${STATE:?}" "${OUT:?}"
architecture=${PLATFORM#*/}
work=$(mktemp -d)
socket=$work/buildkitd.sock
buildkitd=

clean_up() {
  if [ -n "$buildkitd" ]; then
    kill "$buildkitd" || true
    wait "$buildkitd" || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

fail() {
  say "error: $*" >&2
  exit 1
}

fetch() { curl --fail --silent --show-error --retry 3 "$@"; }

# detect finds the newest release that can be installed, and sets version, package_version and epoch. The listing proposes from the
# highest version down, the first that has package opennebula in its index is taken; pre-releases have patch numbers from 80 on.
detect() {
  local suite candidate listed
  fetch --output "$work/listing" "$UPSTREAM/repo/"
  listed=$(grep -oE 'href="[0-9]+\.[0-9]+\.[0-9]+/"' "$work/listing" | grep -oE '[0-9.]+[0-9]' | sort -rV)
  for candidate in $listed; do
    if dpkg --compare-versions "$candidate" lt 7.0.0 || [ "${candidate##*.}" -ge 80 ]; then
      continue
    fi
    suite=$UPSTREAM/repo/$candidate/Ubuntu/24.04/dists/stable
    case $(curl --silent --show-error --retry 3 --output "$work/Release" --write-out '%{http_code}' "$suite/Release") in
      200) ;;
      404) continue ;;
      *) fail "cannot read $suite/Release" ;;
    esac
    fetch --output "$work/Packages" "$suite/opennebula/binary-$architecture/Packages"
    grep -E "^ [0-9a-f]{64} +[0-9]+ opennebula/binary-$architecture/Packages\$" "$work/Release" |
      awk -v file="$work/Packages" '{ print $1 "  " file }' | sha256sum --check --quiet
    package_version=$(newest_package "$candidate")
    if [ -n "$package_version" ]; then
      version=$candidate
      epoch=$(date --utc --date "$(sed -n 's/^Date: //p' "$work/Release")" +%s)
      return
    fi
  done
  fail "no release found in $UPSTREAM/repo/"
}

# newest_package prints the highest Debian version of package opennebula that is a packaging of version $1.
newest_package() {
  local found newest=
  awk '/^Package: / { name = $2 } /^Version: / && name == "opennebula" { print $2 }' "$work/Packages" >"$work/versions"
  while read -r found; do
    if [ "${found%-*}" = "$1" ] && { [ -z "$newest" ] || dpkg --compare-versions "$found" gt "$newest"; }; then
      newest=$found
    fi
  done <"$work/versions"
  echo "$newest"
}

# plan sets base_digest, the digest of the base image now, and revision, the first that is not taken.
plan() {
  local tags
  base_digest=$(crane digest "$BASE_IMAGE")
  if ! tags=$(crane ls "$IMAGES" 2>"$work/crane.log") && ! grep -q NAME_UNKNOWN "$work/crane.log"; then
    fail "cannot list the tags of $IMAGES: $(cat "$work/crane.log")"
  fi
  revision=1
  while grep -qFx "$version-$revision" <<<"$tags"; do
    revision=$((revision + 1))
  done
}

start_buildkitd() {
  cat >"$work/buildkitd.toml" <<END
root = "$STATE/buildkit"
[grpc]
address = ["unix://$socket"]
[otel]
socketPath = "$socket.otel"
[cdi]
disabled = true
[history]
maxEntries = 10
[worker.containerd]
enabled = false
[worker.oci]
enabled = true
networkMode = "host"
gc = true
maxUsedSpace = "10GB"
END
  buildkitd --config "$work/buildkitd.toml" >"$work/buildkitd.log" 2>&1 &
  buildkitd=$!
  until [ -S "$socket" ] && buildctl --addr "unix://$socket" debug workers >"$work/workers" 2>&1; do
    if ! kill -0 "$buildkitd"; then
      fail "buildkitd ended: $(tail "$work/buildkitd.log")"
    fi
    sleep 0.02
  done
}

# build makes the image as an OCI layout in $work/image and sets digest.
build() {
  local name=${BASE_IMAGE%@*}
  start_buildkitd
  mkdir "$work/image" "$work/sources"
  cp --recursive image/. "$work/sources"
  (cd "$work/sources"; CGO_ENABLED=0 GOARCH=${PLATFORM#*/} go build -trimpath -buildvcs=false -ldflags='-s -w' \
    -o "bin/${PLATFORM#*/}/one-container" ./cmd/one-container)
  buildctl --addr "unix://$socket" build --progress plain --frontend dockerfile.v0 --local "context=$work/sources" \
    --local "dockerfile=$work/sources" \
    --opt "platform=$PLATFORM" \
    --opt "build-arg:PROGRAM=given" \
    --opt "build-arg:BASE_IMAGE=$BASE_IMAGE@$base_digest" \
    --opt "build-arg:UPSTREAM=$UPSTREAM" \
    --opt "build-arg:UPSTREAM_FINGERPRINT=$UPSTREAM_FINGERPRINT" \
    --opt "build-arg:VERSION=$version" \
    --opt "build-arg:PACKAGE_VERSION=$package_version" \
    --opt "build-arg:SOURCE_DATE_EPOCH=$epoch" \
    --opt "label:org.opencontainers.image.title=OpenNebula" \
    --opt "label:org.opencontainers.image.description=OpenNebula's control plane" \
    --opt "label:org.opencontainers.image.licenses=Apache-2.0" \
    --opt "label:org.opencontainers.image.version=$version" \
    --opt "label:org.opencontainers.image.created=$(date --utc --date "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" \
    --opt "label:org.opencontainers.image.base.name=$name" \
    --opt "label:org.opencontainers.image.base.digest=$base_digest" \
    --opt "label:io.opennebula-kube.packages=$package_version" \
    --output type=oci,rewrite-timestamp=true --metadata-file "$work/metadata.json" |
    tar --extract --directory "$work/image"
  digest=$(jq --exit-status --raw-output '."containerimage.digest"' "$work/metadata.json")
}

trivy_image() {
  trivy image --no-progress --skip-version-check --disable-telemetry --timeout 30m --cache-dir "$STATE/trivy" --cache-backend memory \
    --offline-scan --input "$work/image" "$@"
}

# scan leaves Trivy's report and the list of the image's contents, and stops what is too vulnerable.
scan() {
  trivy_image --db-repository "$DB_REPOSITORY" --scanners vuln --format json --output "$OUT/trivy.json"
  trivy_image --format cyclonedx --output "$OUT/sbom.cdx.json"
  trivy convert --quiet --format sarif --output "$OUT/trivy.sarif" "$OUT/trivy.json"
  if ! jq --exit-status '[.Results[].Vulnerabilities[]? | select(.Severity | IN("CRITICAL", "HIGH"))] == []' "$OUT/trivy.json" >"$work/passed"; then
    fail "the image has vulnerabilities over the threshold, see $OUT/trivy.json"
  fi
}

# push sends the image by digest, and then puts its tags on it.
push() {
  local tag
  crane push "$work/image" "$IMAGES@$digest"
  for tag in "$version-$revision" "$version" "${version%.*}" "${version%%.*}" latest; do
    crane tag "$IMAGES@$digest" "$tag"
  done
}

# publish_chart packages the chart, puts it into the chart repository $OUT/charts, and pushes it.
publish_chart() {
  local archive
  mkdir -p "$work/chart" "$OUT/charts"
  helm package chart/opennebula --app-version "$version" --destination "$work/chart"
  archive=$(echo "$work"/chart/*.tgz)
  helm repo index "$work/chart" --merge "$OUT/charts/index.yaml"
  cp "$archive" "$work/chart/index.yaml" "$OUT/charts/"
  helm push "$archive" "oci://${CHARTS%/*}" --plain-http
}

mkdir -p "$STATE" "$OUT"
export HELM_CACHE_HOME=$STATE/helm HELM_CONFIG_HOME=$STATE/helm HELM_DATA_HOME=$STATE/helm

say "detect: reading $UPSTREAM"
detect
say "plan: OpenNebula $version, package $package_version"
plan
say "build: revision $revision on $BASE_IMAGE@$base_digest"
build
say "scan: $digest"
scan
say "push: $IMAGES"
push
say "chart: $CHARTS"
publish_chart
say "released OpenNebula $version as $IMAGES@$digest"
