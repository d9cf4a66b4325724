#!/bin/sh
# peers.sh gets the FTP servers and clients that the integration tests talk to.
#
# Debian's FTP server packages conflict with each other, and installing one
# starts it. So servers are downloaded and unpacked into a cache folder; only
# their libraries, and the clients, are installed. A second run finds all in
# place and touches neither the network nor the system.
#
#   peers.sh          get what is missing (needs root where something is)
#   peers.sh check    name what is missing; exit 1 if anything is
#   peers.sh where    print the cache folder
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
cache=${FTPROXY_PEERS:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/ftproxy/peers}

# To add a peer, add its line.
peers() {
	#      package       what it must bring
	unpack vsftpd            usr/sbin/vsftpd
	unpack proftpd-core      usr/sbin/proftpd
	unpack proftpd-mod-crypto usr/lib/proftpd/mod_tls.so
	unpack pure-ftpd         usr/sbin/pure-ftpd
	unpack inetutils-ftpd    usr/sbin/ftpd
	unpack libnss-wrapper    'usr/lib/*/libnss_wrapper.so' # an account for ftpd
	unpack python3-pyftpdlib usr/lib/python3/dist-packages/pyftpdlib
	unpack haproxy           usr/sbin/haproxy
	unpack nginx             usr/sbin/nginx
	unpack libnginx-mod-stream usr/lib/nginx/modules/ngx_stream_module.so
	unpack keepalived        usr/sbin/keepalived
	install curl             curl
	install lftp             lftp
	install tnftp            tnftp
	install inetutils-ftp    inetutils-ftp
	install ncftp            ncftpget
	install wget             wget
	install busybox          busybox
	install rclone           rclone
	install ffmpeg           ffmpeg
	install filezilla        filezilla
	install xvfb             Xvfb # FileZilla's screen
	install xdotool          xdotool # and its user
	install python3          python3
	install openssl          openssl
	install nodejs           node
	node    basic-ftp
	install strace           strace
	install systemd          systemd-analyze
	install iproute2         ip
	install tcpdump          tcpdump
	install nftables         nft
	install iptables         iptables-restore
}

say() { printf 'peers: %s\n' "$*" >&2; }

# apt runs one apt-get command. Its output is shown only when it fails twice,
# without the host names of whichever mirror this machine uses.
updated=
apt() {
	[ -n "$updated" ] || [ -n "$(find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | head -n 1)" ] || update
	apt-get -qq -y -o APT::Sandbox::User=root "$@" >"$log" 2>&1 </dev/null && return
	[ -n "$updated" ] || { update; apt-get -qq -y -o APT::Sandbox::User=root "$@" >"$log" 2>&1 </dev/null && return; }
	sed 's#://[^/ ]*#://HOST#g' "$log" >&2
	return 1
}

update() {
	say "apt-get update"
	apt-get -qq -o DPkg::Lock::Timeout=120 update >"$log" 2>&1 </dev/null || sed 's#://[^/ ]*#://HOST#g' "$log" >&2
	updated=yes
}

# libraries reports whether every library of a program and of the modules
# unpacked with it is there.
libraries() {
	! find "$1" -type f \( -path '*bin/*' -o -name '*.so' \) -exec ldd {} + 2>/dev/null | grep -q 'not found'
}

# unpack puts a package's files below $cache/PACKAGE.
unpack() {
	dir=$cache/$1
	# shellcheck disable=SC2086 # $2 may be a pattern
	if ! ls -d "$dir"/$2 >/dev/null 2>&1; then
		[ "$mode" = get ] || { lack "$1 is not in $cache"; return 0; }
		say "$1: download"
		rm -rf "$dir" "$dir.part"
		mkdir -p "$dir.part"
		(cd "$dir.part" && apt download "$1") || { lack "$1: no download"; return 0; }
		dpkg-deb -f "$dir.part"/*.deb Depends >"$dir.part/depends"
		dpkg -x "$dir.part"/*.deb "$dir.part"
		rm -f "$dir.part"/*.deb
		mv "$dir.part" "$dir"
	fi
	libraries "$dir" && return
	[ "$mode" = get ] || { lack "$1 lacks libraries"; return 0; }
	say "$1: install its libraries"
	# shellcheck disable=SC2046 # one word per package
	apt -o DPkg::Lock::Timeout=120 --no-install-recommends install \
		$(tr ',' '\n' <"$dir/depends" | sed 's/^ *\([^ :|]*\).*/\1/' | grep '^lib') ||
		{ lack "$1: no libraries"; return 0; }
	libraries "$dir" || lack "$1 lacks libraries"
}

# install installs a package unless its command is there already.
install() {
	command -v "$2" >/dev/null && return
	[ "$mode" = get ] || { lack "$1 is not installed"; return 0; }
	say "$1: install"
	apt -o DPkg::Lock::Timeout=120 --no-install-recommends install "$1" || lack "$1: not installed"
}

# node puts a Node package below $cache/node. npm's output names the registry,
# so it is not shown.
node() {
	[ ! -e "$cache/node/node_modules/$1/package.json" ] || return 0
	[ "$mode" = get ] || { lack "$1 is not in $cache"; return 0; }
	say "$1: npm install"
	mkdir -p "$cache/node"
	if ! command -v npm >/dev/null; then
		apt -o DPkg::Lock::Timeout=120 --no-install-recommends install npm || { lack "npm: not installed"; return 0; }
	fi
	npm install --prefix "$cache/node" --no-save --no-package-lock --no-audit --no-fund --ignore-scripts \
		"$1" >"$log" 2>&1 </dev/null || lack "$1: npm could not install it"
}

missing=0
lack() {
	say "$*"
	missing=1
}

mode=${1:-get}
case $mode in
where)
	echo "$cache"
	exit
	;;
get | check) ;;
*)
	echo "usage: peers.sh [check|where]" >&2
	exit 2
	;;
esac
if [ "$mode" = get ] && ! command -v apt-get >/dev/null; then
	say "no apt-get here: install the peers by hand"
	mode=check
fi
if [ "$mode" = get ] && [ "$(id -u)" != 0 ]; then
	say "not root: using what is there already (run 'make peers' as root once)"
	mode=check
fi
if [ "$mode" = get ]; then
	mkdir -p "$cache"
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
fi
peers
exit "$missing"
