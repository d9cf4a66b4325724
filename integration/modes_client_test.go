package integration

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"ftproxy/rewrite"
)

// sessionPatience bounds a session of these clients, which may have to wait for
// hundreds of others.
const sessionPatience = 5 * patience

// A refusal is a reply that ends what the client wanted.
type refusal struct {
	command string
	code    int
	text    string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: %d %s", r.command, r.code, r.text) }

// begins sends a command and wants a reply of that hundred.
func (r *raw) begins(hundred int, command string) (string, error) {
	code, text, err := r.command(command)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", command, err)
	case code/100 != hundred:
		return "", &refusal{command, code, text}
	}
	return text, nil
}

// near and far are the addresses of the control connection.
func (r *raw) near() netip.Addr { return r.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap() }
func (r *raw) far() netip.Addr  { return r.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap() }

// A dataEnd is the client's end of a data connection that was agreed on.
type dataEnd struct {
	to       netip.AddrPort // passive
	listener *net.TCPListener
	conn     net.Conn
}

func (d *dataEnd) Close() {
	if d.listener != nil {
		d.listener.Close()
	}
	if d.conn != nil {
		d.conn.Close()
	}
}

// agree says exactly that verb: PASV, EPSV, PORT or EPRT. What a passive one is
// answered with must be the address that the client talks to.
func (r *raw) agree(verb string) (*dataEnd, error) {
	switch verb {
	case "PASV", "EPSV":
		text, err := r.begins(2, verb)
		if err != nil {
			return nil, err
		}
		d := new(dataEnd)
		if verb == "EPSV" {
			port, err := rewrite.ParseEPSV(text)
			d.to = netip.AddrPortFrom(r.far(), port)
			return d, err
		}
		d.to, err = rewrite.ParsePASV(text)
		if err == nil && d.to.Addr() != r.far() {
			err = fmt.Errorf("PASV: told to connect to %v, want %v", d.to.Addr(), r.far())
		}
		return d, err
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.near(), 0)))
	if err != nil {
		return nil, err
	}
	return r.agreeAt(verb, l)
}

// agreeAt says PORT or EPRT for a listener, which it takes over.
func (r *raw) agreeAt(verb string, l *net.TCPListener) (*dataEnd, error) {
	at := l.Addr().(*net.TCPAddr).AddrPort()
	arg := rewrite.FormatEPRT(at)
	if verb == "PORT" {
		if !at.Addr().Is4() { // There is no room for it: what the server says of that is the point.
			at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port())
		}
		arg = rewrite.FormatPORT(at)
	}
	if _, err := r.begins(2, verb+" "+arg); err != nil {
		l.Close()
		if refused := (*refusal)(nil); asRefusal(err, &refused) {
			refused.command = verb
		}
		return nil, err
	}
	return &dataEnd{listener: l}, nil
}

func asRefusal(err error, to **refusal) bool {
	r, ok := err.(*refusal)
	if ok {
		*to = r
	}
	return ok
}

// connect opens the data connection from the client's address, where it is a
// passive one.
func (r *raw) connect(d *dataEnd) error {
	if d.listener != nil {
		return nil
	}
	conn, err := (&net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.near(), 0)), Timeout: sessionPatience,
	}).Dial("tcp", d.to.String())
	if err != nil {
		return err
	}
	d.conn = r.secure(conn)
	return d.conn.SetDeadline(time.Now().Add(sessionPatience))
}

// begin opens the data connection and has the transfer accepted.
func (r *raw) begin(d *dataEnd, command string) error {
	if err := r.connect(d); err != nil {
		return err
	}
	if _, err := r.begins(1, command); err != nil {
		return err
	}
	if d.listener == nil {
		return nil
	}
	d.listener.SetDeadline(time.Now().Add(patience)) // After a refusal nobody connects.
	conn, err := d.listener.AcceptTCP()
	if err != nil {
		return fmt.Errorf("%s: no data connection: %w", command, err)
	}
	d.conn = r.secure(conn)
	return d.conn.SetDeadline(time.Now().Add(sessionPatience))
}

// done wants the reply that ends a transfer well.
func (r *raw) done(command string) error {
	code, text, err := r.reply()
	switch {
	case err != nil:
		return fmt.Errorf("after %s: %w", command, err)
	case code/100 != 2:
		return &refusal{command, code, text}
	}
	return nil
}

// download fetches a file through a data connection that was agreed on, and
// closes it.
func (r *raw) download(d *dataEnd, file string) ([]byte, error) {
	defer d.Close()
	command := "RETR " + file
	if err := r.begin(d, command); err != nil {
		return nil, err
	}
	got, err := io.ReadAll(d.conn)
	if err != nil {
		return nil, err
	}
	return got, r.done(command)
}

// upload stores a file likewise.
func (r *raw) upload(d *dataEnd, file string, content []byte) error {
	defer d.Close()
	command := "STOR " + file
	if err := r.begin(d, command); err != nil {
		return err
	}
	if _, err := d.conn.Write(content); err != nil {
		return err
	}
	if err := finish(d.conn); err != nil {
		return err
	}
	return r.done(command)
}

// get is agree and download.
func (r *raw) get(verb, file string) ([]byte, error) {
	d, err := r.agree(verb)
	if err != nil {
		return nil, err
	}
	return r.download(d, file)
}

// put is agree and upload.
func (r *raw) put(verb, file string, content []byte) error {
	d, err := r.agree(verb)
	if err != nil {
		return err
	}
	return r.upload(d, file, content)
}

// dialIn connects, reads the greeting and logs in.
func dialIn(from netip.Addr, to netip.AddrPort, s *server) (*raw, error) {
	r, code, err := dialRaw(from, to, sessionPatience)
	if err != nil {
		return nil, err
	}
	if code != 220 {
		err = fmt.Errorf("greeting %d, want 220", code)
	} else {
		err = r.login(s.user, s.pass)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}
