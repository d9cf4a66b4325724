#!/bin/sh
# ftproxy firewall -routes
#
# ftproxy's own machine: what servers answer to clients' addresses is taken
# in, if one of ftproxy's sockets has such an address. The rules that
# -nftables or -iptables -for proxy prints mark these packets.
#
# Only packets with the mark meet this, and it may be run again. It is gone
# after a restart of the machine.
#
# net.ipv4.conf.*.rp_filter may be 0, 1 or 2. net.ipv4.conf.*.src_valid_mark
# must be 0, as it is by default (wg-quick sets it): with 1 the kernel takes
# marked packets for forged.
#
# Servers must send what is for clients to this machine: by their default
# route, or one for the clients' networks.

ip -4 route replace local default dev lo table 2121
ip -4 rule del fwmark 0x2121 lookup 2121 2>/dev/null
ip -4 rule add fwmark 0x2121 lookup 2121
