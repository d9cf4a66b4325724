package integration

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"time"

	"ftproxy/rewrite"
)

// A raw client speaks FTP line by line. It returns errors and fails no test, so
// any goroutine may use it.
type raw struct {
	net.Conn
	r    *textproto.Reader
	bind netip.Addr
	data *tls.Config // of data connections; nil: in the clear
}

// dialRaw connects from bind and reads the greeting's code.
func dialRaw(bind netip.Addr, to netip.AddrPort, limit time.Duration) (*raw, int, error) {
	c, err := (&net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(bind, 0)), Timeout: patience,
	}).Dial("tcp", to.String())
	if err != nil {
		return nil, 0, err
	}
	c.SetDeadline(time.Now().Add(limit))
	return beginRaw(c, bind)
}

// beginRaw reads the greeting's code on a connection, which it takes over.
func beginRaw(c net.Conn, bind netip.Addr) (*raw, int, error) {
	r := &raw{Conn: c, r: textproto.NewReader(bufio.NewReader(c)), bind: bind}
	code, _, err := r.reply()
	if err != nil {
		c.Close()
		return nil, 0, fmt.Errorf("greeting: %w", err)
	}
	return r, code, nil
}

func (r *raw) reply() (int, string, error) { return r.r.ReadResponse(0) }

func (r *raw) send(command string) error {
	_, err := io.WriteString(r, command+"\r\n")
	return err
}

func (r *raw) command(command string) (int, string, error) {
	if err := r.send(command); err != nil {
		return 0, "", err
	}
	return r.reply()
}

// expect sends a command and wants a reply of that code.
func (r *raw) expect(code int, command string) (string, error) {
	got, text, err := r.command(command)
	if err != nil {
		return "", fmt.Errorf("%s: %w", command, err)
	}
	if got != code {
		return "", fmt.Errorf("%s: %d %s, want %d", command, got, text, code)
	}
	return text, nil
}

func (r *raw) login(user, pass string) error {
	if _, err := r.expect(331, "USER "+user); err != nil {
		return err
	}
	if _, err := r.expect(230, "PASS "+pass); err != nil {
		return err
	}
	_, err := r.expect(200, "TYPE I")
	return err
}

// passive sends PASV and returns the address of the reply.
func (r *raw) passive() (netip.AddrPort, error) {
	text, err := r.expect(227, "PASV")
	if err != nil {
		return netip.AddrPort{}, err
	}
	return rewrite.ParsePASV(text)
}

// fetch reads all of a passive download whose PASV was answered with addr.
func (r *raw) fetch(file string, addr netip.AddrPort) ([]byte, error) {
	d, err := (&net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.bind, 0)), Timeout: patience,
	}).Dial("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	defer d.Close()
	d.SetDeadline(time.Now().Add(patience))
	if code, text, err := r.command("RETR " + file); err != nil || code != 150 && code != 125 {
		return nil, fmt.Errorf("RETR %s: %d %s, %w", file, code, text, err)
	}
	data, err := io.ReadAll(d)
	if err != nil {
		return nil, err
	}
	if code, text, err := r.reply(); err != nil || code != 226 {
		return nil, fmt.Errorf("after RETR %s: %d %s, %w", file, code, text, err)
	}
	return data, nil
}
