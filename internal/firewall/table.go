package firewall

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"ftproxy/config"
)

// Table returns the flows of a place, or of all if it is "", for people.
// Unlike rules it can be written while addresses are not known.
func (s *Setup) Table(place Place) string {
	var p page
	t := &table{setup: s, page: &p}
	for _, at := range Places {
		if place != "" && place != at {
			continue
		}
		if p.Len() > 0 {
			p.line("")
		}
		t.write(at)
	}
	t.writeNotes()
	return p.String()
}

// A table is written with one row for each flow, and notes below.
type table struct {
	*page
	setup *Setup
	notes []string
}

// A row has one cell for each column; a cell may have several lines.
type row [][]string

func (t *table) write(place Place) {
	headings := map[Place]string{
		Outside: "OUTSIDE FIREWALL, between clients and ftproxy",
		Host:    "FTPROXY'S OWN MACHINE",
		Inside:  "INSIDE FIREWALL, between ftproxy and servers",
	}
	t.line(headings[place])
	t.line("")
	rows := []row{{{"FROM"}, {"PORT"}, {"TO"}, {"PORT"}, {"FOR"}, {"NEEDED BY"}}}
	for _, f := range t.setup.Flows() {
		if place == Host || f.Place == place {
			rows = append(rows, t.row(f, place))
		}
	}
	t.align(rows)
	if place == Host {
		t.line("\n  And loopback, ping, IPv6 neighbour discovery, and your own administration.")
	}
}

func (t *table) row(f Flow, place Place) row {
	what := map[Kind]string{Control: "control", Passive: "data, passive", Active: "data, active", Lookup: "DNS", Check: "check", Agent: "agent"}[f.Kind]
	from, to := f.From.lines(), f.To.lines()
	if place == Host {
		direction := "in: "
		if f.out() {
			direction = "out: "
		}
		what = direction + what
	}
	source := "any"
	if len(f.Sources) > 0 {
		source = joined(f.Sources, config.PortRange.String, ", ")
	}
	port := joined(f.Ports, config.PortRange.String, ", ")
	switch {
	case f.Ports[0] == config.PortRange{} && f.Place == Inside:
		port = "any" + t.note("SRV records have the port. -resolve looks them up.")
	case f.Kind == Lookup:
		port += " UDP, TCP"
	case f.Place == Inside && f.Kind == Active:
		source += t.note("Most servers connect from port 20, but not all; let a rule accept any.")
	case f.Place == Inside && f.Kind == Passive && len(t.setup.ServerPorts) == 0:
		port += t.note("Any port that the server chooses. Confine them there (vsftpd pasv_min_port and pasv_max_port, ProFTPD " +
			"PassivePorts, pure-ftpd -p) and write the same ports here with -server-ports.")
	case f.Place == Outside && f.Kind == Active:
		port += t.note("The client chooses it. Optional: without these connections clients in active mode get 425, and those in " +
			"passive mode miss nothing. -no-active-clients leaves them out.")
	case f.Place == Outside && f.Kind == Passive:
		offset := t.offset(f)
		port += offset
		if f.From.Who == Proxies && offset == "" {
			port += t.note("Clients connect to the proxies for data, too, which must pass on each of these ports as the same one.")
		}
	}
	needs := f.Needs
	if f.asClients() {
		needs += t.note(`These servers see each client's own address (source = "client"). Let such connections pass only between ftproxy's ` +
			"link and the servers'. Answers to clients must be routed from the servers to ftproxy's machine, which takes them with what " +
			"-nftables or -iptables -for proxy and -routes print.")
	}
	return row{from, {source}, to, {port}, {what}, {needs}}
}

// offset is a note about ports that are others for clients.
func (t *table) offset(f Flow) string {
	for _, fe := range t.setup.Frontends {
		if frontend(fe.Name) == f.Needs && fe.PortOffset != 0 {
			return t.note(fmt.Sprintf("Clients are told %s; address translation in between must make %s of them.", fe.told(), fe.PassivePorts))
		}
	}
	return ""
}

// note returns the mark of a note, the same for the same text.
func (t *table) note(text string) string {
	for i, n := range t.notes {
		if n == text {
			return fmt.Sprintf(" [%d]", i+1)
		}
	}
	t.notes = append(t.notes, text)
	return fmt.Sprintf(" [%d]", len(t.notes))
}

func (t *table) writeNotes() {
	t.line("\nAll are new TCP connections, if nothing else is said; what answers them belongs to")
	t.line("them. None needs an FTP helper for connection tracking.")
	for i, text := range t.notes {
		for j, line := range wrap(text, 84) {
			mark := "    "
			if j == 0 {
				mark = fmt.Sprintf("[%d] ", i+1)
			}
			t.linef("%s%s", mark, line)
		}
	}
	if t.setup.NoActiveClients {
		t.line("Clients in active mode get 425, because -no-active-clients leaves out their data.")
	}
}

// lines are the party and its addresses, one below the other.
func (p Party) lines() []string {
	who := string(p.Who)
	if p.asClients {
		return []string{who + " (clients' addresses)"}
	}
	var all []string
	for _, a := range p.Addrs {
		all = append(all, prefixText(a))
	}
	all = append(all, p.Unknown...)
	switch {
	case len(all) > 0:
	case p.Who == Clients && p.Any4 != p.Any6:
		all = []string{"(IPv6)"}
		if p.Any4 {
			all = []string{"(IPv4)"}
		}
	case p.Who != Ftproxy || !p.listens:
		return []string{who}
	case p.Any4 && p.Any6:
		all = []string{"(every address)"}
	case p.Any4:
		all = []string{"(every IPv4 address)"}
	case p.Any6:
		all = []string{"(every IPv6 address)"}
	}
	for i := range all {
		first := who + " "
		if i > 0 {
			first = strings.Repeat(" ", len(first))
		}
		all[i] = first + all[i]
	}
	return all
}

// align writes rows with columns as wide as their widest cell.
func (t *table) align(rows []row) {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		lines := 0
		for _, cell := range r {
			lines = max(lines, len(cell))
		}
		for i := range lines {
			texts := make([]string, len(r))
			for c, cell := range r {
				if i < len(cell) {
					texts[c] = cell[i]
				}
			}
			fmt.Fprintln(w, "  "+strings.Join(texts, "\t"))
		}
	}
	_ = w.Flush()
	for line := range strings.Lines(b.String()) {
		t.line(strings.TrimRight(line, " \n"))
	}
}
