#!/bin/sh
# peers.sh gets the proxies that bench measures ftproxy beside, from Debian.
#
# Installing one of them starts it, so they are only unpacked, into a cache
# folder; what is installed are their libraries. A second run finds all in place
# and touches neither the network nor the system. A peer that is missing is a
# row "not installed" in the tables, so this never fails for want of one.
#
#   peers.sh          get what is missing (needs root where something is)
#   peers.sh where    print the cache folder
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
cache=${FTPROXY_PEERS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ftproxy/peers}

peers() {
	#      package           what it must bring
	unpack haproxy           usr/sbin/haproxy
	unpack ftp-proxy         usr/sbin/ftp-proxy # SuSE's
	unpack proftpd-core      usr/sbin/proftpd
	unpack proftpd-mod-proxy usr/lib/proftpd/mod_proxy.so
	unpack proftpd-mod-crypto usr/lib/proftpd/mod_tls.so
}

say() { printf 'bench: %s\n' "$*" >&2; }

# apt runs one apt-get command. Its output is shown when it fails, without the
# host names of whichever mirror this machine uses.
apt() {
	apt-get -qq -y -o APT::Sandbox::User=root -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null && return
	sed 's#://[^/ ]*#://HOST#g' "$log" >&2
	return 1
}

# libraries reports whether every library of a package's programs is there.
libraries() {
	! find "$1" -type f \( -path '*bin/*' -o -name 'mod_proxy.so' -o -name 'mod_tls.so' \) -exec ldd {} + 2>/dev/null | grep -q 'not found'
}

# unpack puts a package's files below $cache/PACKAGE.
unpack() {
	dir=$cache/$1
	[ ! -e "$dir/$2" ] || ! libraries "$dir" || return 0
	if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
		say "$1 is not in $cache (needs apt-get, and root)"
		return 0
	fi
	if [ -z "$log" ]; then
		log=$(mktemp)
		trap 'rm -f "$log"' EXIT
		say "apt-get update"
		apt update || true
	fi
	if [ ! -e "$dir/$2" ]; then
		say "$1: download"
		rm -rf "$dir" "$dir.part"
		mkdir -p "$dir.part"
		(cd "$dir.part" && apt download "$1") || { say "$1: no download"; return 0; }
		dpkg-deb -f "$dir.part"/*.deb Depends >"$dir.part/depends"
		dpkg -x "$dir.part"/*.deb "$dir.part"
		rm -f "$dir.part"/*.deb
		mv "$dir.part" "$dir"
	fi
	libraries "$dir" && return
	say "$1: install its libraries"
	# shellcheck disable=SC2046 # one word per package
	apt --no-install-recommends install \
		$(tr ',' '\n' <"$dir/depends" | sed 's/^ *\([^ :|]*\).*/\1/' | grep '^lib') || say "$1: no libraries"
}

log=
case ${1:-get} in
where) echo "$cache" ;;
get) peers ;;
*)
	echo "usage: peers.sh [where]" >&2
	exit 2
	;;
esac
