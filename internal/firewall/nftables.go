package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ftproxy/config"
)

// NFTables returns the rules of a place for nft -f: one table of the family
// inet, which replaces one of that name and touches no other.
func (s *Setup) NFTables(place Place) (string, error) {
	flows, err := s.at(place)
	if err != nil {
		return "", err
	}
	var p page
	p.line("#!/usr/sbin/nft -f")
	p.comment("", "ftproxy firewall -nftables -for "+string(place))
	for _, text := range s.about(place) {
		p.line("#")
		p.comment("", text)
	}
	p.line("#")
	p.comment("", "Try it with nft -c -f FILE, load it with nft -f FILE.")
	table := "ftproxy_" + string(place)
	p.linef("\ntable inet %s\ndelete table inet %s\n\ntable inet %s {", table, table, table)
	n := &nftables{place: place, page: &p}
	rules := n.rules(flows) // names the sets, too
	if place == Host {
		n.writeSets()
		if answered(flows, 4) || answered(flows, 6) {
			n.mark()
		}
		n.host(rules)
	} else {
		refused := n.refused(flows)
		n.writeSets()
		n.forward(rules, refused)
	}
	p.line("}")
	return p.String(), nil
}

// nftables writes the inside of one table.
type nftables struct {
	*page
	place Place
	sets  []nftSet
}

// A nftSet is a named set, so that an administrator who adds an element does it
// once for all rules.
type nftSet struct{ name, kind, elements string }

// set returns "@name". A name stands for the same elements wherever it is used;
// a frontend whose own name ends like the name of a set makes no two of one.
func (n *nftables) set(name, kind, elements string) string {
	s := nftSet{name, kind, elements}
	for slices.ContainsFunc(n.sets, func(o nftSet) bool { return o.name == s.name && o != s }) {
		s.name += "_"
	}
	if !slices.Contains(n.sets, s) {
		n.sets = append(n.sets, s)
	}
	return "@" + s.name
}

func (n *nftables) writeSets() {
	for _, s := range n.sets {
		n.linef("\tset %s {", s.name)
		n.linef("\t\ttype %s", s.kind)
		if strings.ContainsAny(s.elements, "-/") {
			n.line("\t\tflags interval")
		}
		n.linef("\t\telements = { %s }", s.elements)
		n.line("\t}\n")
	}
}

// addrs returns the match of a party, "" where it is everyone.
func (n *nftables) addrs(p Party, f family, field string) string {
	list := p.addrs(f)
	if p.any(f) {
		return ""
	}
	keyword, kind := "ip", "ipv4_addr"
	if f == 6 {
		keyword, kind = "ip6", "ipv6_addr"
	}
	set := n.set(fmt.Sprintf("%s_ipv%d", p.set, f), kind, joined(list, prefixText, ", "))
	return fmt.Sprintf("%s %s %s ", keyword, field, set)
}

// prefixText leaves out the length of a single address.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func (n *nftables) ports(protocol, field, name string, ports []config.PortRange) string {
	text := joined(ports, config.PortRange.String, ", ")
	switch {
	case len(ports) == 0:
		return ""
	case name != "":
		text = n.set(name, "inet_service", text)
	case len(ports) > 1:
		text = "{ " + text + " }"
	}
	return fmt.Sprintf("%s %s %s ", protocol, field, text)
}

// A nftRules are the rules of one flow.
type nftRules struct {
	flow  Flow
	lines []string
}

func (n *nftables) rules(flows []Flow) (all []nftRules) {
	for _, f := range flows {
		r := nftRules{flow: f}
		for _, protocol := range f.protocols {
			ports := n.ports(protocol, "sport", f.sourceName, f.Sources) + n.ports(protocol, "dport", f.portsName, f.Ports)
			for _, v := range families {
				if !f.has(v) {
					continue
				}
				match := n.addrs(f.From, v, "saddr") + n.addrs(f.To, v, "daddr")
				if match == "" && f.has(4) != f.has(6) {
					match = fmt.Sprintf("meta nfproto ipv%d ", v)
				}
				if line := match + ports + "ct state new accept"; !slices.Contains(r.lines, line) {
					r.lines = append(r.lines, line)
				}
			}
		}
		all = append(all, r)
	}
	return all
}

// refused are rules for what ftproxy tries beyond them.
func (n *nftables) refused(flows []Flow) (lines []string) {
	const reset = "meta l4proto tcp reject with tcp reset"
	own := ftproxyOf(flows)
	for _, v := range families {
		if own.has(v) {
			lines = append(lines, n.addrs(own, v, "saddr")+reset)
		}
	}
	for _, servers := range shownClients(flows) {
		for _, v := range families {
			if !servers.has(v) {
				continue
			}
			if line := n.addrs(servers, v, "daddr") + reset; !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// chain begins a base chain that drops what it does not accept.
func (n *nftables) chain(hook string) {
	n.linef("\tchain %s {", hook)
	n.linef("\t\ttype filter hook %s priority filter; policy drop;\n", hook)
}

func (n *nftables) states() {
	n.line("\t\tct state established accept")
	n.line("\t\tct state invalid drop")
	n.comment("\t\t", textRelated)
	n.line("\t\tct state related meta l4proto { icmp, ipv6-icmp } accept\n")
}

func (n *nftables) accept(rules []nftRules, which func(Flow) bool) {
	for _, r := range rules {
		if !which(r.flow) {
			continue
		}
		n.comment("\t\t", r.flow.purpose())
		for _, line := range r.lines {
			n.line("\t\t" + line)
		}
		n.line("")
	}
}

func (n *nftables) forward(rules []nftRules, refused []string) {
	n.chain("forward")
	n.states()
	n.accept(rules, func(Flow) bool { return true })
	n.comment("\t\t", textRefuse)
	for _, line := range refused {
		n.line("\t\t" + line)
	}
	n.line("\t}")
}

// mark marks the answers to clients' addresses, and errors about them.
func (n *nftables) mark() {
	n.comment("\t", textMark)
	n.line("\tchain prerouting {")
	n.line("\t\ttype filter hook prerouting priority mangle; policy accept;")
	n.linef("\t\tmeta l4proto { tcp, icmp, ipv6-icmp } socket transparent 1 meta mark set %s accept", Mark)
	n.line("\t}\n")
}

func (n *nftables) host(rules []nftRules) {
	n.chain("input")
	n.comment("\t\t", "Loopback: metrics and health ([admin]) are served there.")
	n.line("\t\tiifname \"lo\" accept\n")
	n.states()
	n.comment("\t\t", "Ping, and IPv6's neighbour discovery.")
	n.line("\t\ticmp type echo-request accept")
	n.line("\t\ticmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept\n")
	n.accept(rules, func(f Flow) bool { return !f.out() })
	n.comment("\t\t", "Your own administration, for example:")
	n.line("\t\t# ip saddr 192.0.2.0/24 tcp dport 22 ct state new accept")
	n.line("\t}\n")

	n.chain("output")
	n.line("\t\toifname \"lo\" accept\n")
	n.states()
	n.line("\t\ticmp type echo-request accept")
	n.line("\t\ticmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept\n")
	n.accept(rules, Flow.out)
	n.comment("\t\t", textRefuse)
	n.line("\t\tmeta l4proto tcp reject with tcp reset")
	n.line("\t}\n")

	n.comment("\t", "Nothing passes by ftproxy.")
	n.line("\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}")
}
