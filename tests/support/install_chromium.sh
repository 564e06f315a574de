#!/bin/sh
# Installs the headless shell of Debian's Chromium for the tests of the views, and a font with Korean. Wants root and apt-get; nothing else is downloaded.
set -e
[ "$(id -u)" = 0 ] || { echo "installing Chromium wants root" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends chromium-headless-shell fonts-noto-cjk
