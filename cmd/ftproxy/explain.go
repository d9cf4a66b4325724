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
	"ftproxy/internal/certs"
	"ftproxy/proxy"
)

// explain turns what Apply returned into what to do about it, one line for each
// listener and each file that failed.
func explain(c *config.Config, err error) error {
	var lines []error
	for _, one := range flatten(err) {
		var failed *proxy.ListenError
		var source *proxy.SourceError
		var secret *proxy.TLSError
		var file *certs.FileError
		switch {
		case errors.As(one, &failed):
			one = &listenError{"frontend " + failed.Frontend, failed.Addr, "frontend." + failed.Frontend + ".listen", failed.Err}
		case errors.As(one, &secret) && errors.As(one, &file):
			one = c.Problem(secret.Key, file.Path+": "+file.Message, file.Hint)
		case errors.As(one, &source):
			one = fmt.Errorf("frontend %s: cannot connect from port %d: %w: %s", source.Frontend, source.Port, source.Err,
				needsCapability("frontend."+source.Frontend+".active_source_ports"))
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
		return fmt.Sprintf("this machine does not have the address; `ip address` lists those it has: change %s", key)
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
