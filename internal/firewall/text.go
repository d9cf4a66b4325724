package firewall

import (
	"fmt"
	"net/netip"
	"strings"

	"ftproxy/config"
)

// page gathers lines.
type page struct{ strings.Builder }

func (p *page) line(text string) {
	p.WriteString(text)
	p.WriteByte('\n')
}

func (p *page) linef(format string, a ...any) { p.line(fmt.Sprintf(format, a...)) }

// comment writes a paragraph behind "# ", in lines of 78 bytes.
func (p *page) comment(indent, text string) {
	for _, line := range wrap(text, 76-len(indent)) {
		p.linef("%s# %s", indent, line)
	}
}

// wrap breaks a paragraph into lines of at most width bytes where it can.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// joined writes values with a separator.
func joined[T any](list []T, text func(T) string, between string) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = text(v)
	}
	return strings.Join(texts, between)
}

// title says whose rules these are.
func (p Place) title() string {
	switch p {
	case Outside:
		return "The outside firewall: what it forwards between the clients and ftproxy."
	case Inside:
		return "The inside firewall: what it forwards between ftproxy and the servers."
	}
	return "ftproxy's own machine: what it takes in and sends out."
}

// purpose says what the connections of a flow are, from whom to whom.
func (f Flow) purpose() string {
	what := "control connections"
	switch {
	case f.Kind == Lookup:
		return "ftproxy to name servers: the addresses of host names"
	case f.Kind == Check:
		what = "checks"
	case f.Kind == Agent:
		what = "questions to the servers' agents"
	case f.Kind == Passive && f.Place == Outside:
		what = "data of clients in passive mode"
	case f.Kind == Active && f.Place == Outside:
		what = "data of clients in active mode"
	case f.Kind == Passive:
		what = "data, with the server in passive mode"
	case f.Kind == Active:
		what = "data, with the server in active mode"
	}
	if f.asClients() {
		what += ", at clients' addresses"
	}
	return fmt.Sprintf("%s, %s to %s: %s", f.Needs, f.From.Who, f.To.Who, what)
}

// What rules of every kind say of themselves.
const (
	textNoHelper = "No FTP helper for connection tracking (nf_conntrack_ftp) is needed, as every port is known; " +
		"and none must be assigned to these ports, because it would rewrite addresses that are right already."
	textForward = "These are all the rules for forwarding, and they drop the rest. If the machine forwards " +
		"anything else, add these to yours instead. What reaches the firewall itself is not theirs."
	textHost = "These are all the rules of a machine that does nothing else. They drop the rest, and so " +
		"your own administration by ssh, time, updates and the like, until you add them; there is an example below."
	textRelated = "Errors about these connections. Without them, connections hang where the path has a small MTU."
	textMark    = "Answers to clients' addresses are marked where one of ftproxy's sockets has such an address, for the routes of -routes."
	textRefuse  = "What else ftproxy tries is refused at once rather than dropped, so that a client gets its 425 and does not wait."
)

// about is what stands above the rules of a place.
func (s *Setup) about(place Place) (paragraphs []string) {
	paragraphs = []string{place.title(), textNoHelper}
	if place == Host {
		paragraphs = append(paragraphs, textHost)
	} else {
		paragraphs = append(paragraphs, textForward)
	}
	if place != Outside {
		paragraphs = append(paragraphs, s.transparent(place)...)
		paragraphs = append(paragraphs, s.resolved()...)
	}
	if place != Inside {
		paragraphs = append(paragraphs, s.forClients()...)
	}
	return paragraphs
}

// resolved tells which addresses were host names.
func (s *Setup) resolved() (paragraphs []string) {
	for _, b := range s.Backends {
		for _, server := range b.Servers {
			if server.Resolved {
				paragraphs = append(paragraphs, fmt.Sprintf("%s: server %s was looked up and has the address %s. If that changes, print these rules anew.",
					backend(b.Name), server.Host, joined(server.Addrs, netip.Addr.String, ", ")))
			}
		}
	}
	return paragraphs
}

// forClients tells what is special on the side of the clients.
func (s *Setup) forClients() (paragraphs []string) {
	if s.NoActiveClients {
		paragraphs = append(paragraphs, "Clients in active mode get 425: their data connections were left out.")
	}
	for _, f := range s.Frontends {
		if f.DataProxied && f.PortOffset == 0 {
			paragraphs = append(paragraphs, fmt.Sprintf("Clients of %s connect to the proxies for data, too, which must pass on each port (%s) as the same one.",
				frontend(f.Name), f.PassivePorts))
		}
		if f.PortOffset != 0 {
			paragraphs = append(paragraphs, fmt.Sprintf("Clients of %s are told %s, which address translation in front of these rules must make %s.",
				frontend(f.Name), f.told(), f.PassivePorts))
		}
	}
	return paragraphs
}

// told are the passive ports that clients connect to.
func (f Frontend) told() config.PortRange {
	return config.PortRange{First: uint16(int(f.PassivePorts.First) + f.PortOffset), Last: uint16(int(f.PassivePorts.Last) + f.PortOffset)}
}
