#!/bin/sh
# Installs the PostgreSQL server that the tests start for themselves, where there is none and Debian's packages can be
# installed. It never fails: without a server those tests are skipped, and say so.
for folder in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin; do
    [ -x "$folder/initdb" ] && exit 0
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "There is no PostgreSQL server here, and it cannot be installed: its tests will be skipped." >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
{
    apt-get update -qq &&
        apt-get install -y -qq --no-install-recommends postgresql-common &&
        # The tests have a server of their own: none must be started for the machine.
        sed -ri 's/^#?(create_main_cluster) .*/\1 = false/' /etc/postgresql-common/createcluster.conf &&
        apt-get install -y -qq --no-install-recommends postgresql
} >&2 || echo "PostgreSQL could not be installed: its tests will be skipped." >&2
exit 0
