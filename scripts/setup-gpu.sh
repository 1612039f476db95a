#!/usr/bin/env bash
# Sets up two simulated GPUs on a machine without any, for the placement tests: Mesa's software renderer for
# Vulkan (lavapipe), the tools to build the Vulkan module, and Vulkan headers that are new enough for
# the engine, unpacked into target/vulkan. Debian and Ubuntu only; does nothing if everything is installed.
#
# Prints the folder of the headers, or an empty line if the system's headers are new enough.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The first version of vulkan.hpp with VK_EXT_layer_settings, which the engine uses.
headers_needed=1.3.272
unpacked=$PWD/target/vulkan/root/usr/include

fail() {
    echo "setup-gpu: $*" >&2
    exit 1
}

if (($# > 0)) && [[ $1 != vulkan ]]; then
    fail "there is no set-up for $1; only for vulkan. docs/guide/gpu.md lists what the others need"
fi

as_root=()
[[ $(id -u) == 0 ]] || as_root=(sudo -n)
quietly() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >&2; }

# shellcheck source=/dev/null
. /etc/os-release
debian_mirror() {
    cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
        awk '$1 == "URIs:" || $1 == "deb" {print $2; exit}'
}
mirror=$(debian_mirror || true)

have_renderer() { compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' >/dev/null; }
installed_headers() { dpkg-query --show --showformat '${Version}' libvulkan-dev 2>/dev/null || echo 0; }

if ! have_renderer || ! command -v glslc >/dev/null || [[ $(installed_headers) == 0 ]]; then
    command -v apt-get >/dev/null || fail "needs Debian or Ubuntu; on others install Mesa's lavapipe, glslc and Vulkan headers"
    "${as_root[@]}" true 2>/dev/null || fail "install mesa-vulkan-drivers, libvulkan-dev, glslc and spirv-headers and run this again"
    release=()
    lists=$PWD/target/vulkan/apt
    mkdir -p "$lists/parts" "$lists/lists"
    cp -r /etc/apt/sources.list.d/. "$lists/parts/"
    if [[ ${VERSION_CODENAME:-} == bookworm ]]; then
        # Debian 12's own renderer is too old for the engine's shaders, but its backport is not.
        echo "deb $mirror bookworm-backports main" >"$lists/parts/backports.list"
        release=(-t bookworm-backports)
    fi
    options=(-qq -o "Dir::Etc::sourceparts=$lists/parts" -o "Dir::State::lists=$lists/lists")
    echo "setup-gpu: installing the software renderer and what builds the Vulkan module" >&2
    quietly apt-get "${options[@]}" update
    quietly apt-get "${options[@]}" install -y --no-install-recommends "${release[@]}" mesa-vulkan-drivers
    quietly apt-get "${options[@]}" install -y --no-install-recommends libvulkan1 libvulkan-dev glslc spirv-headers
fi

if [[ $(printf '%s\n%s\n' "$headers_needed" "$(installed_headers)" | sort -V | head -n 1) == "$headers_needed" ]]; then
    echo
    exit
fi
if [[ ! -d $unpacked/vulkan ]]; then
    # The package of the next Debian, unpacked but not installed.
    lists=$PWD/target/vulkan/apt-next
    mkdir -p "$lists/lists/partial" "$lists/parts"
    echo "deb $mirror trixie main" >"$lists/sources.list"
    options=(-qq -o "Dir::Etc::sourcelist=$lists/sources.list" -o "Dir::Etc::sourceparts=$lists/parts"
        -o "Dir::State::lists=$lists/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
        -o APT::Sandbox::User=root)
    quietly apt-get "${options[@]}" update
    (cd "$lists" && quietly apt-get "${options[@]}" download libvulkan-dev)
    dpkg --extract "$lists"/libvulkan-dev_*.deb target/vulkan/root
fi
echo "$unpacked"
