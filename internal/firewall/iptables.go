package firewall

import (
	"fmt"
	"strings"

	"ftproxy/config"
)

// IPTables returns the rules of a place for iptables-restore, or with ipv6 for
// ip6tables-restore: the whole table "filter". Both must be loaded: each knows
// one family, and lets the other pass.
func (s *Setup) IPTables(place Place, ipv6 bool) (string, error) {
	flows, err := s.at(place)
	if err != nil {
		return "", err
	}
	i := &iptables{page: new(page), family: 4}
	program, other := "iptables", "ip6tables"
	if ipv6 {
		i.family, program, other = 6, other, program
	}
	i.comment("", fmt.Sprintf("ftproxy firewall -%s -for %s", program, place))
	for _, text := range s.about(place) {
		i.line("#")
		i.comment("", text)
	}
	i.line("#")
	i.comment("", fmt.Sprintf("These are for IPv%d; -%s prints those for IPv%d. Load both. Try them with %s-restore --test FILE, load "+
		"them with %s-restore FILE: it replaces the whole table \"filter\".", i.family, other, 10-i.family, program, program))
	if place == Host && answered(flows, i.family) {
		i.mark()
	}
	i.line("\n*filter")
	if place == Host {
		i.host(flows)
	} else {
		i.forward(flows)
	}
	i.line("COMMIT")
	return i.String(), nil
}

// iptables writes one table.
type iptables struct {
	*page
	family family
}

// rule appends a rule to a chain; empty parts are left out.
func (i *iptables) rule(chain string, parts ...string) {
	words := []string{"-A", chain}
	for _, p := range parts {
		if p != "" {
			words = append(words, p)
		}
	}
	i.line(strings.Join(words, " "))
}

// icmp is the family's protocol, with a type if one is given: that of IPv4 or
// that of IPv6.
func (i *iptables) icmp(kind string) string {
	protocol, option := "icmp", "--icmp-type"
	if i.family == 6 {
		protocol, option = "ipv6-icmp", "--icmpv6-type"
	}
	if kind == "" {
		return "-p " + protocol
	}
	return fmt.Sprintf("-p %s %s %s", protocol, option, kind)
}

func (i *iptables) states(chain string) {
	i.rule(chain, "-m conntrack --ctstate ESTABLISHED -j ACCEPT")
	i.rule(chain, "-m conntrack --ctstate INVALID -j DROP")
	i.comment("", textRelated)
	i.rule(chain, i.icmp(""), "-m conntrack --ctstate RELATED -j ACCEPT")
}

func (i *iptables) addrs(option string, p Party) string {
	if p.any(i.family) {
		return ""
	}
	return option + " " + joined(p.addrs(i.family), prefixText, ",")
}

// accept writes the rules of the flows that which picks.
func (i *iptables) accept(chain string, flows []Flow, which func(Flow) bool) {
	for _, f := range flows {
		if !which(f) || !f.has(i.family) {
			continue
		}
		i.comment("", f.purpose())
		sources := f.Sources
		if len(sources) == 0 {
			sources = []config.PortRange{{}} // any
		}
		for _, protocol := range f.protocols {
			for _, source := range sources {
				sport := ""
				if source != (config.PortRange{}) {
					sport = "--sport " + colon(source)
				}
				for _, p := range f.Ports {
					i.rule(chain, i.addrs("-s", f.From), i.addrs("-d", f.To), "-p "+protocol,
						sport, "--dport "+colon(p), "-m conntrack --ctstate NEW -j ACCEPT")
				}
			}
		}
	}
}

// colon is a range of ports as iptables writes it: "30000:30099".
func colon(p config.PortRange) string { return strings.Replace(p.String(), "-", ":", 1) }

const reject = "-p tcp -j REJECT --reject-with tcp-reset"

func (i *iptables) forward(flows []Flow) {
	i.line(":INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]")
	i.states("FORWARD")
	i.accept("FORWARD", flows, func(Flow) bool { return true })
	i.comment("", textRefuse)
	if own := ftproxyOf(flows); own.has(i.family) {
		i.rule("FORWARD", i.addrs("-s", own), reject)
	}
	var last string
	for _, servers := range shownClients(flows) {
		if at := i.addrs("-d", servers); servers.has(i.family) && at != last {
			i.rule("FORWARD", at, reject)
			last = at
		}
	}
}

// mark marks the answers to clients' addresses, and errors about them.
func (i *iptables) mark() {
	i.line("")
	i.comment("", textMark+" This replaces the whole table \"mangle\".")
	i.line("*mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]")
	for _, protocol := range []string{"-p tcp", i.icmp("")} {
		i.rule("PREROUTING", protocol, "-m socket --transparent -j MARK --set-mark", Mark)
	}
	i.line("COMMIT")
}

func (i *iptables) host(flows []Flow) {
	i.line(":INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT DROP [0:0]")
	i.comment("", "Loopback: metrics and health ([admin]) are served there.")
	i.rule("INPUT", "-i lo -j ACCEPT")
	i.states("INPUT")
	in, out := []string{"echo-request"}, []string{"echo-request"}
	about := "Ping."
	if i.family == 6 {
		about = "Ping, and neighbour discovery."
		in = append(in, "neighbour-solicitation", "neighbour-advertisement", "router-advertisement")
		out = append(out, "neighbour-solicitation", "neighbour-advertisement", "router-solicitation", "143") // 143: MLDv2 report
	}
	i.comment("", about)
	for _, kind := range in {
		i.rule("INPUT", i.icmp(kind), "-j ACCEPT")
	}
	i.accept("INPUT", flows, func(f Flow) bool { return !f.out() })
	i.comment("", "Your own administration, for example:")
	example := "192.0.2.0/24"
	if i.family == 6 {
		example = "2001:db8:1::/64"
	}
	i.linef("# -A INPUT -s %s -p tcp --dport 22 -m conntrack --ctstate NEW -j ACCEPT", example)
	i.rule("OUTPUT", "-o lo -j ACCEPT")
	i.states("OUTPUT")
	for _, kind := range out {
		i.rule("OUTPUT", i.icmp(kind), "-j ACCEPT")
	}
	i.accept("OUTPUT", flows, Flow.out)
	i.comment("", textRefuse)
	i.rule("OUTPUT", reject)
}
