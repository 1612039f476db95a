#!/usr/bin/env bash
# Publishes the tested packages: scripts/publish.sh npm|crates|archives FOLDER [TAG]. Packages that are already
# published are skipped, so that an incomplete release can be run again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kind=${1:?npm, crates or archives} tested=${2:?the folder of what was tested} tag=${3:-}
version=$(python3 scripts/version.py current)

found() { # NAME FILE...: they are there
    local name=$1
    shift
    [[ -e $1 ]] || {
        echo "publish: there are no $name in $tested" >&2
        exit 1
    }
}

npm_packages() {
    local tarball name all
    mapfile -t all < <(find "$tested" -name '*.tgz' | sort)
    found "npm packages" "${all[@]}"
    # The package that depends on the others is published last.
    mapfile -t all < <(printf '%s\n' "${all[@]}" | grep -v '/mullama-[0-9]' && printf '%s\n' "${all[@]}" | grep '/mullama-[0-9]')
    for tarball in "${all[@]}"; do
        name=$(tar -xzOf "$tarball" package/package.json | python3 -c 'import json, sys; print(json.load(sys.stdin)["name"])')
        if npm view "$name@$version" version 2>/dev/null | grep -q .; then
            echo "$name@$version is there already"
        else
            npm publish "$tarball" --provenance --access public
        fi
    done
}

crates() {
    local crate name
    make --no-print-directory crates
    found crates "$tested"/*.crate
    for crate in $(make --no-print-directory --silent list-crates); do
        name=$crate-$version.crate
        cmp "target/package/$name" "$tested/$name"
        if cargo info --quiet --registry crates-io "$crate@$version" >/dev/null 2>&1; then
            echo "$crate@$version is there already"
        else
            cargo publish --no-verify --package "$crate"
        fi
    done
}

archives() {
    local all
    mapfile -t all < <(find "$tested" -path '*/dist/*.tar.gz' | sort)
    found archives "${all[@]}"
    (cd "$(dirname "${all[0]}")" && sha256sum -- *.tar.gz) >"$tested/SHA256SUMS"
    python3 scripts/version.py notes >"$tested/notes.md"
    gh release view "${tag:?the tag}" >/dev/null 2>&1 ||
        gh release create "$tag" --verify-tag --title "mullama $version" --notes-file "$tested/notes.md"
    gh release upload "$tag" --clobber "${all[@]}" "$tested/SHA256SUMS"
}

case $kind in
    npm) npm_packages ;;
    crates | archives) "$kind" ;;
    *)
        echo "usage: $0 npm|crates|archives FOLDER [TAG]" >&2
        exit 2
        ;;
esac
