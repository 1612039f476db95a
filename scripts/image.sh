#!/usr/bin/env bash
# The container image: scripts/image.sh build | save | publish. It is named after this machine's architecture
# until `publish` combines the images of all architectures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tool=$(command -v podman || command -v docker || true)
[[ -n $tool ]] || {
    echo "image: install podman or docker" >&2
    exit 1
}
version=$(python3 scripts/version.py current)
repository=ghcr.io/mullama/mullama
case $(uname -m) in
    x86_64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) arch=$(uname -m) ;;
esac
image=$repository:$version-$arch

case ${1:-} in
    name) echo "$image" ;;
    build)
        archives=(target/dist/mullama-"$version"-linux-*-gnu.tar.gz)
        [[ ${#archives[@]} == 1 && -f ${archives[0]} ]] || {
            echo "image: one archive is to be in target/dist (make dist): ${archives[*]}" >&2
            exit 1
        }
        "$tool" build --quiet --file Containerfile --build-arg "ARCHIVE=$(basename "${archives[0]}")" \
            --tag "$image" target/dist
        ;;
    save)
        mkdir -p target/image
        "$tool" save --output "target/image/mullama-$version-$arch.tar" "$image"
        ;;
    publish)
        parts=()
        for file in target/image/mullama-"$version"-*.tar; do
            "$tool" load --input "$file"
            part=$repository:$(basename "$file" .tar | sed 's/^mullama-//')
            "$tool" push "$part"
            parts+=("$part")
        done
        for tag in "$version" latest; do
            # A pre-release does not get the tag `latest`.
            [[ $tag != latest || $version != *-* ]] || continue
            "$tool" manifest create "$repository:$tag" "${parts[@]}"
            "$tool" manifest push "$repository:$tag"
        done
        ;;
    *)
        echo "usage: $0 name | build | save | publish" >&2
        exit 2
        ;;
esac
