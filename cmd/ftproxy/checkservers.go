package main

import (
	"bytes"
	"fmt"
	"strings"

	"ftproxy/config"
)

// backServers says which servers a backend has, and how ftproxy chooses one.
func backServers(b *bytes.Buffer, s config.Backend) {
	texts := make([]string, len(s.Servers))
	for i, server := range s.Servers {
		texts[i] = serverText(server)
	}
	how := "tries"
	if s.Balance != "" && s.Balance != config.BalanceFirst {
		how = fmt.Sprintf("balance %s among", s.Balance)
	}
	fmt.Fprintf(b, "backend %s: %s %s\n", s.Name, how, strings.Join(texts, ", "))
	if s.Check.Kind.On() {
		fmt.Fprintf(b, "  check %s every %v, fall %d, rise %d\n", s.Check.Kind, s.Check.Interval, s.Check.Fall, s.Check.Rise)
	}
	if s.Check.AgentPort != 0 {
		fmt.Fprintf(b, "  agent of each server: port %d, asked every %v\n", s.Check.AgentPort, s.Check.Interval)
	}
}

// serverText is a server with its settings, if it has a table of them.
func serverText(s config.Server) string {
	if s.Label == "" {
		return s.String()
	}
	about := []string{s.String()}
	if s.Weight > 1 {
		about = append(about, fmt.Sprintf("weight %d", s.Weight))
	}
	if s.MaxSessions > 0 {
		about = append(about, "at most "+count(s.MaxSessions, "session"))
	}
	if s.Backup {
		about = append(about, "backup")
	}
	return s.Label + " (" + strings.Join(about, ", ") + ")"
}
