// Package modes translates between the ways of two sides to agree on a data connection: which
// verb a server is told for a client's, and what a client is told of the server's answer.
package modes

import (
	"errors"
	"fmt"
	"net/netip"

	"ftproxy/config"
	"ftproxy/internal/ftp"
	"ftproxy/internal/logline"
	"ftproxy/rewrite"
)

// ErrFamily is a data mode that a server of another family cannot have.
var ErrFamily = errors.New("the backend's data mode is for IPv4, the server's address is not")

// ErrRefused is a reply that agrees to no data connection.
var ErrRefused = errors.New("the server refuses the data connection")

// Verbs are what a client's verb may become towards a server, in the order to try them.
// mode is the backend's, and the family that of the server's control connection. Where that leaves a
// choice, an extended verb is tried for an extended one, unless plain tells that this
// server is to be told the plain one at once (H22).
func Verbs(mode config.DataMode, client string, ipv4 bool, plain func(extended string) bool) ([]string, error) {
	passive := mode == config.DataPassive || mode == config.DataClient && ftp.IsPassive(client)
	extended, old := "EPRT", "PORT"
	if passive {
		extended, old = "EPSV", "PASV"
	}
	switch {
	case mode.OnlyIPv4() && !ipv4:
		return nil, ErrFamily
	case mode == config.DataPASV:
		return []string{"PASV"}, nil
	case mode == config.DataEPSV:
		return []string{"EPSV"}, nil
	case mode == config.DataPORT:
		return []string{"PORT"}, nil
	case mode == config.DataEPRT:
		return []string{"EPRT"}, nil
	case !ipv4:
		return []string{extended}, nil
	case client == "PASV", client == "PORT", plain(extended):
		return []string{old}, nil
	}
	return []string{extended, old}, nil
}

// Argument is that of PORT and EPRT for an address, and nil for the other verbs.
func Argument(verb string, addr netip.AddrPort) []byte {
	switch verb {
	case "PORT":
		return []byte(rewrite.FormatPORT(addr))
	case "EPRT":
		return []byte(rewrite.FormatEPRT(addr))
	}
	return nil
}

// ServerAddr is where the server says in its reply to PASV or EPSV that it listens, without an
// address in a 229. Some servers answer the one verb with the other's reply, or in the other's
// form: the port is there, so it is used (H8). A port below 1024 is one of its services
// rather than a data port (H5).
func ServerAddr(reply *ftp.Reply) (addr netip.AddrPort, err error) {
	text := reply.Text()
	form, other := rewrite.ParsePASV, parseEPSV
	switch reply.Code {
	case 227:
	case 229:
		form, other = other, form
	default:
		return addr, ErrRefused
	}
	if addr, err = form(text); err != nil {
		unusual, failed := other(text)
		if failed != nil {
			return addr, logline.PeerError(err) // It quotes the reply.
		}
		addr = unusual
	}
	if addr.Port() < 1024 {
		return addr, fmt.Errorf("port %d is no data port", addr.Port())
	}
	return addr, nil
}

// parseEPSV is [rewrite.ParseEPSV] for a port without an address.
func parseEPSV(text string) (netip.AddrPort, error) {
	port, err := rewrite.ParseEPSV(text)
	return netip.AddrPortFrom(netip.Addr{}, port), err
}

// ClientReply is the line that a client is told after its PASV or EPSV, for a port of ours at addr: the
// server's words with our address where they have the form that the client wants, our own
// words otherwise.
func ClientReply(client string, addr netip.AddrPort, reply *ftp.Reply) (line string) {
	switch {
	case client == "PASV" && reply.Code == 227:
		return rewrite.ReplacePASV(reply.Text(), addr)
	case client == "PASV":
		return rewrite.FormatPASV(addr)
	case reply.Code == 229:
		return rewrite.ReplaceEPSV(reply.Text(), addr.Port())
	}
	return rewrite.FormatEPSV(addr.Port())
}

// Refusal is the code that a client gets for its verb when the server has refused the verb
// that it was told. A code that means the verb is passed on only to a client that said a verb
// of that mode: one that hears 502 to its PASV tries PORT, which is no cure
// for a server that refuses PORT. Nor is a 2xx without an address an
// answer, or a family that is not the client's affair.
func Refusal(client, server string, code int) int {
	if ftp.Class(code) < 4 || code == 522 || ftp.RefusesVerb(code) && ftp.IsPassive(client) != ftp.IsPassive(server) {
		return 425
	}
	return code
}
