//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// A user is an FTP client: one session at a proxy, or at the stub itself.
type user struct {
	control
	to      unix.SockaddrInet4
	from    [4]byte // own address; zero is the kernel's choice
	payload payload
	active  bool         // PORT instead of PASV
	cert    *certificate // AUTH TLS before USER, with this one's servers; nil: in the clear
	private bool         // PROT P: data connections have TLS

	listener   int // in active mode, for the whole session
	listenPort int
	moved      int64 // bytes of all transfers so far
	request    []byte
}

// errReply is a reply that was not the one wanted.
var errReply = errors.New("unexpected reply")

// errShort is a download that ended before its size.
var errShort = errors.New("wrong number of bytes")

func newUser(t *task, to unix.SockaddrInet4, from [4]byte, p payload) *user {
	return &user{control: control{t: t, fd: -1}, to: to, from: from, payload: p, listener: -1}
}

// close ends the session without a word, if there is one.
func (u *user) close() {
	if u.fd >= 0 {
		u.t.loop.drop(u.fd)
		u.fd, u.r, u.w, u.tls = -1, 0, 0, nil
	}
	if u.listener >= 0 {
		u.t.loop.drop(u.listener)
		u.listener = -1
	}
}

// login connects and logs in.
func (u *user) login() error {
	fd, err := u.t.dial(u.from, &u.to)
	if err != nil {
		return err
	}
	u.fd = fd
	if err := u.expect(220); err != nil {
		return err
	}
	if u.cert != nil {
		if err := u.command("AUTH TLS\r\n", 234); err != nil {
			return err
		}
		if u.tls, err = u.shake(u.fd, u.cert, false); err != nil {
			return err
		}
	}
	if err := u.command("USER bench\r\n", 331); err != nil {
		return err
	}
	return u.command("PASS bench\r\n", 230)
}

// protect has the data connections of a session with TLS have it, too.
func (u *user) protect() error {
	if err := u.command("PBSZ 0\r\n", 200); err != nil {
		return err
	}
	u.private = true
	return u.command("PROT P\r\n", 200)
}

// quit ends the session as RFC 959 has it.
func (u *user) quit() error {
	err := u.command("QUIT\r\n", 221)
	u.close()
	return err
}

// visit is a whole session: login and QUIT.
func (u *user) visit() error {
	if err := u.login(); err != nil {
		u.close()
		return err
	}
	return u.quit()
}

func (u *user) noop() error { return u.command("NOOP\r\n", 200) }

func (u *user) command(text string, code int) error {
	u.request = append(u.request[:0], text...)
	if err := u.write(u.request); err != nil {
		return err
	}
	return u.expect(code)
}

// reply reads the last line of a reply. Without wait it returns 0 when the reply
// is not there yet.
func (u *user) reply(wait bool) (code int, line []byte, err error) {
	for {
		line, err := u.line(wait)
		if err != nil || line == nil {
			return 0, nil, err
		}
		if len(line) < 4 || line[3] != ' ' {
			continue
		}
		for _, c := range line[:3] {
			code = code*10 + int(c-'0')
		}
		if code < 100 || code > 599 {
			return 0, nil, fmt.Errorf("%w: %q", errReply, line)
		}
		return code, line, nil
	}
}

func (u *user) expect(want int) error {
	code, line, err := u.reply(true)
	if err != nil {
		return err
	}
	if code != want {
		return fmt.Errorf("%w: %q, not %d", errReply, line, want)
	}
	return nil
}

// passive asks for a port and returns it.
func (u *user) passive() (int, error) {
	if err := u.write([]byte("PASV\r\n")); err != nil {
		return 0, err
	}
	return u.passiveReply()
}

func (u *user) passiveReply() (int, error) {
	code, line, err := u.reply(true)
	if err != nil {
		return 0, err
	}
	port, ok := portOf227(line)
	if code != 227 || !ok {
		return 0, fmt.Errorf("%w: %q, not 227", errReply, line)
	}
	return port, nil
}

// connect begins the data connection. It goes to the address of the control
// connection, whatever the reply said: a relay does not rewrite it.
func (u *user) connect(port int) (int, error) {
	return u.t.dial(u.from, &unix.SockaddrInet4{Addr: u.to.Addr, Port: port})
}

// offer tells the server where to connect to.
func (u *user) offer() error {
	local, err := unix.Getsockname(u.fd)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	addr := local.(*unix.SockaddrInet4).Addr
	if u.listener < 0 {
		if u.listener, err = listen(addr, 0); err != nil {
			return err
		}
		if err := u.t.loop.add(u.listener, u.t); err != nil {
			return err
		}
		at, err := unix.Getsockname(u.listener)
		if err != nil {
			return fmt.Errorf("getsockname: %w", err)
		}
		u.listenPort = at.(*unix.SockaddrInet4).Port
	}
	u.request = appendPASV(append(u.request[:0], "PORT "...), addr, u.listenPort)
	u.request = append(u.request, "\r\n"...)
	if err := u.write(u.request); err != nil {
		return err
	}
	return u.expect(200)
}

// download moves size bytes from the server.
func (u *user) download(size int64) error {
	return u.transfer(fmt.Appendf(u.request[:0], "RETR %d\r\n", size), size, false)
}

// upload moves size bytes to the server.
func (u *user) upload(size int64) error {
	return u.transfer([]byte("STOR file\r\n"), size, true)
}

func (u *user) transfer(request []byte, size int64, up bool) error {
	request = append([]byte(nil), request...)
	data := -1
	if u.active {
		if err := u.offer(); err != nil {
			return err
		}
	} else {
		port, err := u.passive()
		if err != nil {
			return err
		}
		if data, err = u.connect(port); err != nil {
			return err
		}
	}
	if err := u.write(request); err != nil {
		if data >= 0 {
			u.t.loop.drop(data)
		}
		return err
	}
	return u.move(data, size, up)
}

// move moves the data of a transfer that was asked for, and reads its replies.
// It takes over data, which is negative until the server has connected.
func (u *user) move(data int, size int64, up bool) error {
	defer func() {
		if data >= 0 {
			u.t.loop.drop(data)
		}
	}()
	var (
		left         = size
		ended        bool // the data connection, in good order
		begun, final bool // the replies
		s            *secured
		via          stream = &plain{data, u.payload}
	)
	if u.private {
		var err error
		if s, err = u.shake(data, u.cert, false); err != nil {
			return err
		}
		via = s
		if !up {
			left -= s.carrier.came
		}
	}
	for turn := int64(0); !ended || !final; {
		var n int64
		err := error(unix.EAGAIN)
		switch {
		case ended: // but its final reply is not there
		case data < 0:
			if data, err = u.t.accept(u.listener); err == nil {
				via = &plain{data, u.payload}
				continue
			}
			data = -1
		case !up:
			n, err = via.discard(u.t.loop.quantum)
		case left == 0:
			err = io.EOF
		case begun:
			n, err = via.send(left, u.t.loop.quantum)
		}
		left -= n
		u.moved += n
		turn += n
		switch {
		case err == nil && turn >= int64(u.t.loop.quantum):
			turn = 0
			err = u.t.pause()
		case err == nil:
		case err == io.EOF:
			if left > 0 || left < 0 && s == nil { // TLS adds to the bytes that are there
				return fmt.Errorf("%w: %d missing of %d", errShort, left, size)
			}
			if s != nil && up {
				if err := s.end(true); err != nil {
					return err
				}
			}
			ended = true
			u.t.loop.drop(data)
			data = -1
			err = nil
		case err == unix.EAGAIN:
			turn = 0
			var code int
			var line []byte
			if code, line, err = u.reply(false); err != nil {
				return err
			}
			switch {
			case code == 0:
				err = u.t.wait()
			case code < 200:
				begun = true
			case code < 300:
				final = true
			default:
				return fmt.Errorf("%w: %q", errReply, line)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
