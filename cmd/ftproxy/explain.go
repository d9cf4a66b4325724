package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"ftproxy/config"
	"ftproxy/internal/binds"
	"ftproxy/internal/certs"
	"ftproxy/internal/ftps"
	"ftproxy/internal/listeners"
)

// explain turns what Apply returned into what to do about it, one line for each
// listener and each file that failed.
func explain(c *config.Config, err error) error {
	var lines []error
	for _, one := range flatten(err) {
		var failed *listeners.Error
		var source *binds.SourceError
		var bind *binds.PassiveError
		var secret *ftps.ConfigError
		var file *certs.FileError
		switch {
		case errors.As(one, &failed):
			one = &listenError{"frontend " + failed.Frontend, failed.Addr, "frontend." + failed.Frontend + ".listen", failed.Err}
		case errors.As(one, &secret) && errors.As(one, &file):
			one = c.Problem(secret.Key, file.Path+": "+file.Message, file.Hint)
		case errors.As(one, &bind):
			one = explainBind(bind)
		case errors.As(one, &source):
			one = explainSource(source)
		}
		lines = append(lines, one)
	}
	slices.SortFunc(lines, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(lines...)
}

// flatten lists the errors that err joins, at any depth.
func flatten(err error) (all []error) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// explainBind says what to do about an address that data ports cannot listen on.
func explainBind(e *binds.PassiveError) error {
	key := "frontend." + e.Frontend + ".passive_bind"
	switch {
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("frontend %s: cannot listen on %s for data connections: %w: this machine does not have the address; `ip address` lists "+
			"those it has: change %s, or write freebind = true in [frontend.%s] where the address comes later", e.Frontend, e.Addr, e.Err, key, e.Frontend)
	case errors.Is(e.Err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("frontend %s: cannot listen on %s for data connections: %w: this machine has no %s; take the address out of %s",
			e.Frontend, e.Addr, e.Err, family(e.Addr), key)
	}
	return e
}

// explainSource says what a process lacks that may not connect from somewhere.
func explainSource(e *binds.SourceError) error {
	key := "backend." + e.Backend + ".source"
	switch {
	case e.Frontend != "":
		return fmt.Errorf("frontend %s: cannot connect from port %d: %w: %s", e.Frontend, e.Port, e.Err,
			needsCapability("frontend."+e.Frontend+".active_source_ports"))
	case errors.Is(e.Err, syscall.EPERM):
		return fmt.Errorf("backend %s: cannot connect from clients' addresses: %w: this needs CAP_NET_RAW: "+
			"`setcap cap_net_raw,cap_net_bind_service=+ep %s`, or AmbientCapabilities=CAP_NET_RAW CAP_NET_BIND_SERVICE and the same "+
			"CapabilityBoundingSet in the systemd unit, or another %s", e.Backend, e.Err, executable(), key)
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("backend %s: cannot connect from %s: %w: this machine does not have the address; `ip address` lists those it has: "+
			"change %s, or set net.%s.ip_nonlocal_bind = 1 where the address comes later", e.Backend, e.Addr, e.Err, key, strings.ToLower(family(e.Addr)))
	case errors.Is(e.Err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("backend %s: cannot connect from %s: %w: this machine has no %s; take the address out of %s",
			e.Backend, e.Addr, e.Err, family(e.Addr), key)
	}
	return e
}

// A listenError says why an address cannot be listened on, and what to do.
type listenError struct {
	what    string // "admin", "frontend public"
	address netip.AddrPort
	key     string // where it is configured
	cause   error
}

func (e *listenError) Error() string {
	return fmt.Sprintf("%s: cannot listen on %s: %s", e.what, e.address, e.advice())
}

func (e *listenError) Unwrap() error { return e.cause }

func (e *listenError) advice() string {
	err, address, key := e.cause, e.address, e.key
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("the port is in use by another program; `ss -ltnp 'sport = :%d'` shows which: stop it, or change %s",
			address.Port(), key)
	case errors.Is(err, syscall.EACCES) && address.Port() < 1024:
		return needsCapability(key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		later := ""
		if table, ok := strings.CutSuffix(key, ".listen"); ok && table != "admin" {
			later = fmt.Sprintf(", or write freebind = true in [%s] where the address comes later", table)
		}
		return fmt.Sprintf("this machine does not have the address; `ip address` lists those it has: change %s%s", key, later)
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Sprintf("this machine has no %s; take the address out of %s", family(address.Addr()), key)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // the address stands in the message already
	}
	return err.Error()
}

func needsCapability(key string) string {
	return fmt.Sprintf("ports below 1024 need CAP_NET_BIND_SERVICE: "+
		"`setcap cap_net_bind_service=+ep %s`, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, "+
		"or a port from 1024 up in %s", executable(), key)
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return "/path/to/ftproxy"
	}
	return path
}
