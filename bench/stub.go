//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// A stub is the FTP server behind every proxy. It knows as little FTP as they
// need, keeps its passive ports open, and lends each to one session at a time,
// so that a relay that maps port to port and knows no FTP works, too.
//
// RETR SIZE sends so many bytes; STOR discards what comes.
type stub struct {
	loop    *loop
	payload payload
	cert    *certificate // for users who want TLS
	addr    [4]byte
	port    int // control
	first   int // data ports from here

	control   int   // listener
	listeners []int // by port - first
	free      []int // indices into listeners, in order of release
	sessions  int
}

// stubPorts is the number of passive ports.
const stubPorts = 200

// newStub listens on addr: its control port, and the passive ports from first.
func newStub(l *loop, p payload, cert *certificate, addr [4]byte, port, first int) (*stub, error) {
	s := &stub{loop: l, payload: p, cert: cert, addr: addr, port: port, first: first, control: -1}
	for i := range stubPorts {
		fd, err := listen(addr, first+i)
		if err != nil {
			s.close()
			return nil, err
		}
		s.listeners = append(s.listeners, fd)
		if err := l.add(fd, nil); err != nil {
			s.close()
			return nil, err
		}
		s.free = append(s.free, i)
	}
	var err error
	if s.control, err = listen(addr, port); err != nil {
		s.close()
		return nil, err
	}
	accepting := l.spawn(s.accept)
	if err := l.add(s.control, accepting); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close closes the listeners; the loop ends the sessions.
func (s *stub) close() {
	for _, fd := range s.listeners {
		s.loop.drop(fd)
	}
	if s.control >= 0 {
		s.loop.drop(s.control)
	}
}

// confine leaves the stub only its first n passive ports. No session may be
// there.
func (s *stub) confine(n int) {
	s.free = s.free[:0]
	for i := range n {
		s.free = append(s.free, i)
	}
}

func (s *stub) accept(t *task) {
	for {
		fd, _, err := unix.Accept4(s.control, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == unix.EAGAIN {
			if t.wait() != nil {
				return
			}
			continue
		}
		if err != nil {
			if err == unix.EINTR || err == unix.ECONNABORTED {
				continue
			}
			return
		}
		s.loop.spawn(func(t *task) { s.serve(t, fd) })
	}
}

// A visit is one session at the stub.
type visit struct {
	control
	stub    *stub
	lent    int // index of the passive port on loan, or -1
	active  unix.SockaddrInet4
	private bool // PROT P: data connections have TLS
	reply   []byte
}

func (s *stub) serve(t *task, fd int) {
	v := &visit{control: control{t: t, fd: fd}, stub: s, lent: -1}
	s.sessions++
	defer func() {
		v.giveBack()
		s.loop.drop(fd)
		s.sessions--
	}()
	if unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) != nil || s.loop.add(fd, t) != nil {
		return
	}
	if v.say("220 Stub.\r\n") != nil {
		return
	}
	for {
		line, err := v.line(true)
		if err != nil {
			return
		}
		verb, argument, _ := bytes.Cut(line, []byte(" "))
		if v.do(string(bytes.ToUpper(verb)), argument) != nil {
			return
		}
	}
}

var errQuit = errors.New("quit")

func (v *visit) do(verb string, argument []byte) error {
	switch verb {
	case "USER":
		return v.say("331 Password.\r\n")
	case "PASS":
		return v.say("230 Logged in.\r\n")
	case "NOOP", "PBSZ", "TYPE", "MODE", "STRU", "OPTS", "CLNT":
		return v.say("200 OK.\r\n")
	case "SYST":
		return v.say("215 UNIX Type: L8\r\n")
	case "PWD":
		return v.say("257 \"/\" is it.\r\n")
	case "CWD":
		return v.say("250 OK.\r\n")
	case "FEAT":
		return v.say("211-Features:\r\n EPSV\r\n EPRT\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n211 End.\r\n")
	case "AUTH":
		if err := v.say("234 Go on.\r\n"); err != nil {
			return err
		}
		var err error
		v.tls, err = v.shake(v.fd, v.stub.cert, true)
		return err
	case "PROT":
		v.private = string(argument) == "P"
		return v.say("200 OK.\r\n")
	case "QUIT":
		if err := v.say("221 Bye.\r\n"); err != nil {
			return err
		}
		return errQuit
	case "PASV", "EPSV":
		return v.passive(verb)
	case "PORT", "EPRT":
		return v.port(verb, argument)
	case "RETR":
		size, err := strconv.ParseInt(string(bytes.TrimPrefix(argument, []byte("/"))), 10, 64)
		if err != nil {
			return v.say("550 RETR wants a number of bytes.\r\n")
		}
		return v.transfer(func(to stream) error { return v.send(to, size) })
	case "STOR":
		return v.transfer(v.receive)
	}
	return v.say("500 What?\r\n")
}

func (v *visit) say(text string) error {
	v.reply = append(v.reply[:0], text...)
	return v.write(v.reply)
}

// passive lends the session a port that nobody else has.
func (v *visit) passive(verb string) error {
	v.giveBack()
	s := v.stub
	if len(s.free) == 0 {
		return v.say("425 No port.\r\n")
	}
	v.lent = s.free[0]
	s.free = s.free[:copy(s.free, s.free[1:])]
	fd := s.listeners[v.lent]
	for { // of whoever had it last
		stray, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			break
		}
		unix.Close(stray)
	}
	s.loop.own(fd, v.t)
	port := s.first + v.lent
	if verb == "EPSV" {
		v.reply = fmt.Appendf(v.reply[:0], "229 Extended Passive Mode (|||%d|).\r\n", port)
	} else {
		v.reply = appendPASV(append(v.reply[:0], "227 Passive Mode ("...), s.addr, port)
		v.reply = append(v.reply, ").\r\n"...)
	}
	return v.write(v.reply)
}

// giveBack returns the port on loan, if there is one.
func (v *visit) giveBack() {
	if v.lent >= 0 {
		v.stub.loop.own(v.stub.listeners[v.lent], nil)
		v.stub.free = append(v.stub.free, v.lent)
		v.lent = -1
	}
}

func (v *visit) port(verb string, argument []byte) error {
	v.giveBack()
	addr, port, ok := parsePORT(argument)
	if verb == "EPRT" {
		addr, port, ok = parseEPRT(argument)
	}
	if !ok {
		return v.say("501 Which port?\r\n")
	}
	v.active = unix.SockaddrInet4{Addr: addr, Port: port}
	return v.say("200 OK.\r\n")
}

// transfer opens the data connection, moves the data, and closes it.
func (v *visit) transfer(move func(stream) error) error {
	fd, err := v.open()
	if errors.Is(err, errStopped) || errors.Is(err, io.EOF) {
		return err
	}
	if err != nil {
		return v.say("425 No data connection.\r\n")
	}
	if err := v.say("150 Here it comes.\r\n"); err != nil {
		v.stub.loop.drop(fd)
		return err
	}
	if v.private {
		err = v.protected(fd, move)
	} else {
		err = move(&plain{fd, v.stub.payload})
	}
	v.stub.loop.drop(fd)
	switch {
	case errors.Is(err, errStopped):
		return err
	case err != nil:
		return v.say("426 Broken.\r\n")
	}
	return v.say("226 Done.\r\n")
}

func (v *visit) open() (int, error) {
	if v.lent < 0 {
		if v.active.Port == 0 {
			return -1, errors.New("neither PASV nor PORT")
		}
		return v.t.dial(v.stub.addr, &v.active)
	}
	for {
		fd, err := v.t.accept(v.stub.listeners[v.lent])
		if err == nil {
			v.giveBack()
			return fd, nil
		}
		if err != unix.EAGAIN && err != unix.EINTR && err != unix.ECONNABORTED {
			return -1, err
		}
		if v.gone() {
			return -1, io.EOF
		}
		if err := v.t.wait(); err != nil {
			return -1, err
		}
	}
}

// protected moves the data under TLS, with the stub as its server.
func (v *visit) protected(fd int, move func(stream) error) error {
	s, err := v.shake(fd, v.stub.cert, true)
	if err != nil {
		return err
	}
	if err := move(s); err != nil {
		return err
	}
	_ = s.end(false) // mod_proxy, which has sent all, is gone by now.
	return nil
}

func (v *visit) send(to stream, n int64) error {
	for moved := int64(0); n > 0; {
		sent, err := to.send(n, v.t.loop.quantum)
		n -= sent
		moved += sent
		switch {
		case err == unix.EAGAIN:
			moved = 0
			err = v.t.wait()
		case err == nil && moved >= int64(v.t.loop.quantum):
			moved = 0
			err = v.t.pause()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *visit) receive(from stream) error {
	for moved := int64(0); ; {
		n, err := from.discard(v.t.loop.quantum)
		moved += n
		switch {
		case err == io.EOF:
			return nil
		case err == unix.EAGAIN:
			moved = 0
			err = v.t.wait()
		case err == nil && moved >= int64(v.t.loop.quantum):
			moved = 0
			err = v.t.pause()
		}
		if err != nil {
			return err
		}
	}
}
